// C++17 over b24_messageservice.h: handles that free themselves, errors as exceptions or as values.
//
//     b24::client client(b24::config().portal("portal.bitrix24.com").access_token(token));
//     client.message_status_update("provider1", message_id, b24::status::delivered);
//
// Each call that throws b24::error is there a second time with try_ before its name, and returns the
// error instead: as an outcome, or in the result that else holds the value.
//
//     b24::result<b24::client> client = b24::client::try_make(config);
//     if (!client) {
//         std::cerr << client.error().what();
//     } else if (b24::outcome failure = client->try_message_status_update("provider1", id, "sent")) {
//         std::cerr << failure->what();
//     }
//
// Without exceptions (-fno-exceptions) only these are there. RTTI is not needed. Header only; link what
// the C header needs.
#ifndef B24_MESSAGESERVICE_HPP
#define B24_MESSAGESERVICE_HPP

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 201703L
#error "b24_messageservice.hpp needs C++17: compile with -std=c++17 or later"
#else

#include "b24_messageservice.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

// Whether the calls that throw are there: true unless the compiler was told to do without exceptions.
#ifndef B24_EXCEPTIONS
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define B24_EXCEPTIONS 1
#else
#define B24_EXCEPTIONS 0
#endif
#endif

namespace b24 {

/// The statuses of a message. Calls take any text, since the portal may add more.
namespace status {
inline constexpr const char *queued = "queued";
inline constexpr const char *sent = "sent";
inline constexpr const char *delivered = "delivered";
inline constexpr const char *undelivered = "undelivered";
inline constexpr const char *failed = "failed";
}  // namespace status

/// Why a call failed. what() is for people, and never holds a secret.
class error : public std::runtime_error {
public:
    error(b24_code code, const std::string &message) : std::runtime_error(message), code_(code) {}

    /// A copy of an error of C.
    explicit error(const b24_error &from)
        : std::runtime_error(b24_error_message(&from)),
          code_(b24_error_code(&from)),
          portal_code_(b24_error_portal_code(&from)),
          description_(b24_error_description(&from)),
          http_status_(b24_error_http_status(&from)),
          retryable_(b24_error_is_retryable(&from)),
          retry_after_ms_(b24_error_retry_after_ms(&from)) {}

    b24_code code() const noexcept { return code_; }
    /// The code's name, such as "B24_TIMEOUT".
    const char *code_name() const noexcept { return b24_code_name(code_); }
    /// The portal's own error code, such as "ERROR_MESSAGE_NOT_FOUND"; empty if none.
    const std::string &portal_code() const noexcept { return portal_code_; }
    /// The portal's own description; empty if none.
    const std::string &description() const noexcept { return description_; }
    /// The HTTP status of the answer that decided; 0 if none.
    int http_status() const noexcept { return http_status_; }
    /// Whether the same call may succeed later without anyone changing anything.
    bool is_retryable() const noexcept { return retryable_; }
    /// How long to wait before the same call can succeed, if that is known.
    std::optional<std::chrono::milliseconds> retry_after() const noexcept {
        if (retry_after_ms_ < 0) {
            return std::nullopt;
        }
        return std::chrono::milliseconds(retry_after_ms_);
    }

private:
    b24_code code_;
    std::string portal_code_;
    std::string description_;
    int http_status_ = 0;
    bool retryable_ = false;
    std::int64_t retry_after_ms_ = -1;
};

/// The outcome of a call without a value: empty if it succeeded, else the error.
using outcome = std::optional<error>;

/// The outcome of a call with a value: the value, or the error. As std::expected of C++23.
template <typename T>
class result {
public:
    result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    result(b24::error failure) : state_(std::in_place_index<1>, std::move(failure)) {}

    bool has_value() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /// The value; only if there is one.
    T &operator*() & noexcept { return *std::get_if<0>(&state_); }
    const T &operator*() const & noexcept { return *std::get_if<0>(&state_); }
    T &&operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
    T *operator->() noexcept { return std::get_if<0>(&state_); }
    const T *operator->() const noexcept { return std::get_if<0>(&state_); }

    /// The error; only if there is no value.
    const b24::error &error() const noexcept { return *std::get_if<1>(&state_); }

#if B24_EXCEPTIONS
    /// The value. Throws the error if there is none.
    T value() && {
        if (!has_value()) {
            throw std::move(*std::get_if<1>(&state_));
        }
        return std::move(*std::get_if<0>(&state_));
    }
#endif

private:
    std::variant<T, b24::error> state_;
};

/// How many requests a portal allows; see config::rate_limit.
enum class rate {
    /// 50 at once, 2 a second.
    standard,
    /// 250 at once, 5 a second.
    enterprise,
    /// Requests are not counted.
    off,
};

/// What an acknowledged receipt survives; see config::durability.
enum class durability {
    /// That the machine fails.
    disk,
    /// Only that the process is killed, which is faster.
    process,
};

/// An installation's tokens at one moment. All but the address, the id and the time are secrets.
struct tokens {
    std::string access_token;
    std::string refresh_token;
    std::string client_endpoint;
    std::string member_id;
    /// Unix time; 0 if not known.
    std::int64_t expires = 0;

    tokens() = default;
    explicit tokens(const b24_tokens *from)
        : access_token(b24_tokens_access_token(from)),
          refresh_token(b24_tokens_refresh_token(from)),
          client_endpoint(b24_tokens_client_endpoint(from)),
          member_id(b24_tokens_member_id(from)),
          expires(b24_tokens_expires(from)) {}
};

/// One update of a batch.
struct update {
    std::string code;
    std::string message_id;
    std::string status;
};

namespace detail {

struct deleter {
    void operator()(b24_config *handle) const noexcept { b24_config_free(handle); }
    void operator()(b24_client *handle) const noexcept { b24_client_free(handle); }
    void operator()(b24_cancel_token *handle) const noexcept { b24_cancel_token_free(handle); }
    void operator()(b24_batch *handle) const noexcept { b24_batch_free(handle); }
    void operator()(b24_sender *handle) const noexcept { b24_sender_free(handle); }
    void operator()(b24_list *handle) const noexcept { b24_list_free(handle); }
    void operator()(b24_tokens *handle) const noexcept { b24_tokens_free(handle); }
    void operator()(b24_provider *handle) const noexcept { b24_provider_close(handle); }
    void operator()(b24_request *handle) const noexcept { b24_request_free(handle); }
    void operator()(b24_drained *handle) const noexcept { b24_drained_free(handle); }
    void operator()(b24_vocabulary *handle) const noexcept { b24_vocabulary_free(handle); }
    void operator()(b24_error *handle) const noexcept { b24_error_free(handle); }
};

template <typename T>
using owner = std::unique_ptr<T, deleter>;

/// The outcome of a call of the C library.
inline outcome take(b24_code code, b24_error *from) {
    owner<b24_error> owned(from);
    if (code == B24_OK) {
        return std::nullopt;
    }
    return owned ? outcome(std::in_place, *owned) : outcome(std::in_place, code, "out of memory");
}

/// Calls a function of the C library whose last parameter takes the error.
template <typename Function, typename... Arguments>
outcome call(Function function, Arguments... arguments) {
    b24_error *failure = nullptr;
    const b24_code code = function(arguments..., &failure);
    return take(code, failure);
}

/// Calls one whose parameter before that takes what it makes.
template <typename Handle, typename Function, typename... Arguments>
result<owner<Handle>> make(Function function, Arguments... arguments) {
    Handle *made = nullptr;
    outcome failure = call(function, arguments..., &made);
    owner<Handle> owned(made);
    if (failure) {
        return *std::move(failure);
    }
    return result<owner<Handle>>(std::move(owned));
}

#if B24_EXCEPTIONS
inline void raise(outcome failure) {
    if (failure) {
        throw *std::move(failure);
    }
}
#endif

/// A text that a call takes, and its name.
using named_text = std::pair<const char *, const std::string &>;

/// C would cut a text off at a NUL, and report about another message.
inline outcome refuse_nul(std::initializer_list<named_text> texts) {
    for (const named_text &text : texts) {
        if (text.second.find('\0') != std::string::npos) {
            return error(B24_INVALID_ARGUMENT, std::string(text.first) + " contains a NUL");
        }
    }
    return std::nullopt;
}

inline outcome refuse_nul(const std::string &code, const std::string &message_id,
                          const std::string &status) {
    return refuse_nul({{"code", code}, {"message_id", message_id}, {"status", status}});
}

/// A batch of the C library of the updates that it can take; the outcomes of the others.
class batch {
public:
    explicit batch(const std::vector<update> &updates) : handle_(b24_batch_new()) {
        outcomes_.reserve(updates.size());
        for (const update &one : updates) {
            outcomes_.push_back(refuse_nul(one.code, one.message_id, one.status));
            if (!outcomes_.back()) {
                b24_batch_add(handle_.get(), one.code.c_str(), one.message_id.c_str(),
                              one.status.c_str());
            }
        }
    }

    b24_batch *get() const noexcept { return handle_.get(); }

    /// The outcome of each update, once the batch was sent or stored.
    std::vector<outcome> outcomes() && {
        std::size_t sent = 0;
        for (outcome &one : outcomes_) {
            if (!one) {
                if (const b24_error *failure = b24_batch_error(handle_.get(), sent++)) {
                    one.emplace(*failure);
                }
            }
        }
        return std::move(outcomes_);
    }

private:
    owner<b24_batch> handle_;
    std::vector<outcome> outcomes_;
};

/// The row of a list of the C library.
class row {
public:
    row(const b24_list *list, std::size_t index) : list_(list), index_(index) {}

    std::string text(const char *name) const { return b24_list_get(list_, index_, name); }

    std::uint64_t count(const char *name) const {
        return std::strtoull(b24_list_get(list_, index_, name), nullptr, 10);
    }

    /// Milliseconds, which are missing if the text is empty.
    std::optional<std::chrono::milliseconds> time(const char *name) const {
        const char *value = b24_list_get(list_, index_, name);
        if (*value == '\0') {
            return std::nullopt;
        }
        return std::chrono::milliseconds(std::strtoll(value, nullptr, 10));
    }

private:
    const b24_list *list_;
    std::size_t index_;
};

/// The values with this name in a list that a function of the C library gives.
template <typename Function, typename... Arguments>
result<std::vector<std::string>> values(const char *name, Function function,
                                        Arguments... arguments) {
    const result<owner<b24_list>> list = make<b24_list>(function, arguments...);
    if (!list) {
        return list.error();
    }
    std::vector<std::string> texts;
    for (std::size_t row = 0; row < b24_list_len(list->get()); row++) {
        texts.emplace_back(b24_list_get(list->get(), row, name));
    }
    return result<std::vector<std::string>>(std::move(texts));
}

/// The rows of a list that a function of the C library gives, each as a `Row`, which is made from a
/// `row`.
template <typename Row, typename Function, typename... Arguments>
result<std::vector<Row>> rows(Function function, Arguments... arguments) {
    const result<owner<b24_list>> list = make<b24_list>(function, arguments...);
    if (!list) {
        return list.error();
    }
    std::vector<Row> all;
    all.reserve(b24_list_len(list->get()));
    for (std::size_t index = 0; index < b24_list_len(list->get()); index++) {
        all.emplace_back(row(list->get(), index));
    }
    return result<std::vector<Row>>(std::move(all));
}

}  // namespace detail

/// What clients and providers are made from. One thread at a time.
///
/// Each option has a function with its name. If one cannot take a value, the client or provider that
/// is made from the configuration reports it; failure() tells it before.
class config {
public:
    using renewal_callback = std::function<void(const tokens &)>;

    config() : handle_(b24_config_new()) {}

    // make generate writes: options
    /// The portal: a host such as portal.bitrix24.com, an origin, or a client_endpoint URL. The
    /// address of an inbound webhook is refused, because the methods never work with one.
    config &portal(std::string_view value) { return put("portal", value); }
    /// The OAuth access token of an installed application.
    config &access_token(std::string_view value) { return put("access_token", value); }
    /// The refresh token that came with the access token. It needs client_id and client_secret.
    config &refresh_token(std::string_view value) { return put("refresh_token", value); }
    /// The application's id.
    config &client_id(std::string_view value) { return put("client_id", value); }
    /// The application's secret. It is sent to the authorization server only.
    config &client_secret(std::string_view value) { return put("client_secret", value); }
    /// The authorization server, https only.
    config &oauth_url(std::string_view value) { return put("oauth_url", value); }
    /// The deadline of a whole call, from 1 ms to 7 days: waiting, renewal, redirects and retries
    /// included. Errors name it timeout_ms.
    config &timeout(std::chrono::milliseconds value) { return put("timeout_ms", value); }
    /// The deadline of one attempt to connect: DNS, TCP, proxy and TLS. Errors name it
    /// connect_timeout_ms.
    config &connect_timeout(std::chrono::milliseconds value) {
        return put("connect_timeout_ms", value);
    }
    /// How often a call is retried after the first attempt, from 0 to 100. In a batch this holds
    /// for each request.
    config &max_retries(std::int64_t value) { return put("max_retries", value); }
    /// How many requests the portal allows: standard (50 at once, 2 a second), enterprise (250 at
    /// once, 5 a second), off, or BURST/DRAIN such as 50/2.
    config &rate_limit(std::string_view value) { return put("rate_limit", value); }
    /// A directory in which the processes of one machine share tokens and the rate limit. It is
    /// made if its parent exists.
    config &state_dir(std::string_view value) { return put("state_dir", value); }
    /// A PEM file of root certificates that are trusted besides the built-in ones.
    config &ca_file(std::string_view value) { return put("ca_file", value); }
    /// The proxy: env for what the environment says, none, or the URL of an HTTP proxy.
    config &proxy(std::string_view value) { return put("proxy", value); }
    /// Addresses to use instead of DNS: host:port:address[:port], separated by commas. The host *
    /// stands for any.
    config &resolve(const std::vector<std::string> &value) { return put_list("resolve", value); }
    /// Further hosts that a portal may move to, separated by commas.
    config &redirect_hosts(const std::vector<std::string> &value) {
        return put_list("redirect_hosts", value);
    }
    /// A prefix to the library's own User-Agent, such as my-gateway/2.1.
    config &user_agent(std::string_view value) { return put("user_agent", value); }
    /// Whether an http:// portal is accepted. The token is then sent unencrypted.
    config &allow_http(bool value) { return put_flag("allow_http", value); }
    // A text, which would be true whatever it says.
    config &allow_http(const void *) = delete;
    /// Where a provider keeps installations and receipts: sqlite: and the path of a file, which is
    /// made if its directory exists, or for several machines the address of a PostgreSQL database,
    /// postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full.
    config &store(std::string_view value) { return put("store", value); }
    /// What an acknowledged receipt survives: disk, that the machine fails, or process, only that
    /// the process is killed, which is faster.
    config &durability(std::string_view value) { return put("durability", value); }
    /// How large the store may become, in megabytes. Beyond that, and if less than 64 MB of the
    /// disk are free, receipts are refused with STORAGE, and those in the store are still sent.
    config &store_max_mb(std::int64_t value) { return put("store_max_mb", value); }
    /// A file of keys, with which the tokens in the store are sealed: a line ID KEY for each, where
    /// KEY is 32 random bytes in hexadecimal or Base64. The first one seals, all open.
    config &store_key_file(std::string_view value) { return put("store_key_file", value); }
    /// How many threads send receipts while a program drains, from 0 to 256. With 0 only the
    /// calling thread does.
    config &workers(std::int64_t value) { return put("workers", value); }
    // end: options
    config &rate_limit(rate value) {
        switch (value) {
        case rate::standard: return rate_limit("standard");
        case rate::enterprise: return rate_limit("enterprise");
        case rate::off: return rate_limit("off");
        }
        return *this;
    }
    /// How many requests the portal allows at once, and how many a second.
    config &rate_limit(std::uint32_t burst, std::uint32_t drain) {
        return rate_limit(std::to_string(burst) + "/" + std::to_string(drain));
    }
    config &durability(b24::durability value) {
        return durability(value == b24::durability::process ? "process" : "disk");
    }

    /// Sets the function that stores renewed tokens; see b24_renewal_callback. It is called on the
    /// renewal's own thread. It must not throw, and must not make calls for the same installation.
    /// It is kept as long as it can still be called. What it refers to must stay valid as long:
    /// call renewals_wait after the last client is gone. A shared client keeps it until the process
    /// ends.
    config &on_renewal(renewal_callback callback) {
        std::shared_ptr<holder> kept(new holder, &config::retire);
        kept->callback = std::move(callback);
        keep(detail::call(b24_config_on_renewal, handle_.get(), &config::call,
                          static_cast<void *>(kept.get())));
        callback_ = std::move(kept);
        return *this;
    }

    /// The first value that a function above could not take; empty if there is none.
    const outcome &failure() const noexcept { return failure_; }

    /// Sets an option by its name, as in C: for names that the program reads from a file. A value
    /// that it does not take changes nothing.
    outcome try_set(const std::string &name, const std::string &value) {
        outcome failure = detail::refuse_nul({{"name", name}, {"value", value}});
        return failure ? failure
                       : detail::call(b24_config_set, handle_.get(), name.c_str(), value.c_str());
    }

#if B24_EXCEPTIONS
    /// The same, but throws error.
    config &set(const std::string &name, const std::string &value) {
        detail::raise(try_set(name, value));
        return *this;
    }
#endif

private:
    friend class client;
    friend class provider;

    struct holder {
        renewal_callback callback;
        // Refers to itself once a shared client uses it, because the process keeps that client.
        std::shared_ptr<holder> forever;
        holder *next = nullptr;
    };

    // Deletes functions that no client uses, as soon as no renewal is left that could call them.
    static void retire(holder *unused) noexcept {
        static std::mutex mutex;
        static holder *retired = nullptr;
        holder *done = nullptr;
        {
            const std::lock_guard<std::mutex> lock(mutex);
            unused->next = retired;
            retired = unused;
            if (b24_renewals_wait(0, nullptr) == B24_OK) {
                std::swap(done, retired);
            }
        }
        // Without the lock, because such a function may own a client.
        while (done != nullptr) {
            delete std::exchange(done, done->next);
        }
    }

    static void call(const b24_tokens *renewed, void *user) noexcept {
        static_cast<holder *>(user)->callback(tokens(renewed));
    }

    void keep(outcome failure) {
        if (failure && !failure_) {
            failure_ = std::move(failure);
        }
    }

    config &put(const char *name, std::string_view value) {
        keep(try_set(name, std::string(value)));
        return *this;
    }

    config &put(const char *name, std::chrono::milliseconds value) {
        return put(name, std::to_string(value.count()));
    }

    config &put(const char *name, std::int64_t value) { return put(name, std::to_string(value)); }

    config &put_flag(const char *name, bool value) { return put(name, value ? "true" : "false"); }

    config &put_list(const char *name, const std::vector<std::string> &values) {
        std::string joined;
        for (const std::string &value : values) {
            if (value.find(',') != std::string::npos) {
                // It would be taken for two.
                keep(error(B24_INVALID_CONFIG, std::string(name) + " has an entry with a comma"));
            }
            joined += (joined.empty() ? "" : ",") + value;
        }
        return put(name, joined);
    }

    detail::owner<b24_config> handle_;
    std::shared_ptr<holder> callback_;
    outcome failure_;
};

/// An SMS provider as it is registered with a portal. Its parts are those of b24_sender_set, checked
/// when a call uses it. One thread at a time may change it.
///
///     b24::sender provider("provider1");
///     provider.handler("https://provider.example.com/send").name("Provider One");
class sender {
public:
    /// Fails if the code contains a NUL. The calls report other mistakes in it.
    static result<sender> try_make(const std::string &code) {
        if (outcome failure = detail::refuse_nul({{"code", code}})) {
            return *std::move(failure);
        }
        return sender(b24_sender_new(code.c_str()));
    }

    /// Sets a part by its name: "handler", "name", "description" or "type". Fails if a text contains
    /// a NUL or is not UTF-8.
    outcome try_set(const std::string &part, const std::string &text) {
        return set(part, nullptr, text);
    }
    /// The same, as users of one language, such as "en", see it.
    outcome try_set_in(const std::string &language, const std::string &part, const std::string &text) {
        return set(part, &language, text);
    }

#if B24_EXCEPTIONS
    /// This and the functions below throw error where those above return it.
    explicit sender(const std::string &code) : sender(try_make(code).value()) {}

    /// The address that the portal posts messages to.
    sender &handler(const std::string &url) { return raise(try_set("handler", url)); }
    /// The name that users see, in all languages.
    sender &name(const std::string &text) { return raise(try_set("name", text)); }
    /// The name that users of one language, such as "en", see.
    sender &name_in(const std::string &language, const std::string &text) {
        return raise(try_set_in(language, "name", text));
    }
    /// The description that users see, in all languages.
    sender &description(const std::string &text) { return raise(try_set("description", text)); }
    /// The description that users of one language, such as "en", see.
    sender &description_in(const std::string &language, const std::string &text) {
        return raise(try_set_in(language, "description", text));
    }
    /// The type of its messages: SMS unless set. It cannot be changed after the sender was added.
    sender &type(const std::string &text) { return raise(try_set("type", text)); }
#endif

private:
    friend class client;

    explicit sender(b24_sender *handle) : handle_(handle) {}

    outcome set(const std::string &part, const std::string *language, const std::string &text) {
        outcome failure = detail::refuse_nul({{"part", part}, {part.c_str(), text}});
        if (!failure && language != nullptr) {
            failure = detail::refuse_nul({{"language", *language}});
        }
        return failure ? failure
                       : detail::call(b24_sender_set, handle_.get(), part.c_str(),
                                      language != nullptr ? language->c_str() : nullptr,
                                      text.c_str());
    }

#if B24_EXCEPTIONS
    sender &raise(outcome failure) {
        detail::raise(std::move(failure));
        return *this;
    }
#endif

    detail::owner<b24_sender> handle_;
};

/// Cancels calls one by one: see b24_cancel_token. Any number of threads may use one at once.
class cancel_token {
public:
    cancel_token() : handle_(b24_cancel_token_new()) {}

    /// Ends the calls that have this token with B24_CANCELLED, and those that begin later.
    void cancel() noexcept { b24_cancel_token_cancel(handle_.get()); }

private:
    friend class client;
    friend class provider;

    detail::owner<b24_cancel_token> handle_;
};

/// A light handle to a portal. Any number of threads may use one at once. Move or destroy it only
/// while no thread is inside a call.
class client {
public:
    /// Nothing is sent yet.
    static result<client> try_make(const config &from) { return made(from, b24_client_new); }

    /// The client that the process keeps for an equal configuration: see b24_client_shared.
    static result<client> try_shared(const config &from) {
        result<client> shared = made(from, b24_client_shared);
        if (shared && shared->callback_) {
            shared->callback_->forever = shared->callback_;
        }
        return shared;
    }

    /// Reports the status of one message.
    outcome try_message_status_update(const std::string &code, const std::string &message_id,
                                      const std::string &status) {
        outcome failure = detail::refuse_nul(code, message_id, status);
        return failure ? failure
                       : detail::call(b24_message_status_update, handle_.get(), code.c_str(),
                                      message_id.c_str(), status.c_str());
    }

    /// Reports the status of any number of messages, and returns the outcome of each, in order.
    std::vector<outcome> message_status_update_batch(const std::vector<update> &updates) {
        detail::batch batch(updates);
        b24_message_status_update_batch(handle_.get(), batch.get(), nullptr);
        return std::move(batch).outcomes();
    }

    /// Registers an SMS provider with the portal: see b24_sender_add.
    outcome try_sender_add(const sender &added) {
        return detail::call(b24_sender_add, handle_.get(), added.handle_.get());
    }

    /// Changes the handler, name or description of a registered sender; what is not set stays.
    outcome try_sender_update(const sender &changed) {
        return detail::call(b24_sender_update, handle_.get(), changed.handle_.get());
    }

    /// Removes a sender from the portal, by its provider code.
    outcome try_sender_delete(const std::string &code) {
        outcome failure = detail::refuse_nul({{"code", code}});
        return failure ? failure : detail::call(b24_sender_delete, handle_.get(), code.c_str());
    }

    /// The provider codes of the senders that the application has registered.
    result<std::vector<std::string>> try_sender_list() {
        return detail::values("code", b24_sender_list, handle_.get());
    }

    /// The English name of a message's status, by the portal's own number of the message; empty if
    /// it has none.
    result<std::string> try_message_status_get(std::uint64_t message_id) {
        result<std::vector<std::string>> statuses =
            detail::values("status", b24_message_status_get, handle_.get(), message_id);
        if (!statuses) {
            return statuses.error();
        }
        return statuses->empty() ? std::string() : statuses->front();
    }

    /// The same client with limits for its calls: see b24_client_limited.
    result<client> try_with_timeout(std::chrono::milliseconds timeout) const {
        return limited(timeout.count(), nullptr);
    }

    /// The same client, whose calls the token ends: see b24_client_limited.
    result<client> try_with_cancel(const cancel_token &token) const {
        return limited(0, token.handle_.get());
    }

    /// Ends the calls that are under way with B24_CANCELLED, from any thread.
    void cancel() noexcept { b24_client_cancel(handle_.get()); }

    /// The current tokens.
    b24::tokens tokens() const {
        return b24::tokens(detail::owner<b24_tokens>(b24_client_tokens(handle_.get())).get());
    }

#if B24_EXCEPTIONS
    // As those of these names with try_ above, but each throws error.

    explicit client(const config &from) : client(try_make(from).value()) {}
    static client shared(const config &from) { return try_shared(from).value(); }
    void message_status_update(const std::string &code, const std::string &message_id,
                               const std::string &status) {
        detail::raise(try_message_status_update(code, message_id, status));
    }
    void sender_add(const sender &added) { detail::raise(try_sender_add(added)); }
    void sender_update(const sender &changed) { detail::raise(try_sender_update(changed)); }
    void sender_delete(const std::string &code) { detail::raise(try_sender_delete(code)); }
    std::vector<std::string> sender_list() { return try_sender_list().value(); }
    std::string message_status_get(std::uint64_t message_id) {
        return try_message_status_get(message_id).value();
    }
    client with_timeout(std::chrono::milliseconds timeout) const {
        return try_with_timeout(timeout).value();
    }
    client with_cancel(const cancel_token &token) const { return try_with_cancel(token).value(); }
#endif

private:
    friend class provider;

    using maker = b24_code (*)(const b24_config *, b24_client **, b24_error **);

    explicit client(detail::owner<b24_client> made) : handle_(std::move(made)) {}

    static result<client> made(const config &from, maker make) {
        if (from.failure_) {
            return *from.failure_;
        }
        return of(detail::make<b24_client>(make, from.handle_.get()), from.callback_);
    }

    static result<client> of(result<detail::owner<b24_client>> made,
                             std::shared_ptr<config::holder> callback) {
        if (!made) {
            return made.error();
        }
        client handle(*std::move(made));
        handle.callback_ = std::move(callback);
        return result<client>(std::move(handle));
    }

    result<client> limited(std::int64_t timeout_ms, const b24_cancel_token *token) const {
        return of(detail::make<b24_client>(b24_client_limited, handle_.get(), timeout_ms, token),
                  callback_);
    }

    // Declared first, so that it is destroyed last.
    std::shared_ptr<config::holder> callback_;
    detail::owner<b24_client> handle_;
};

/// What a portal wants of the provider.
enum class request_kind {
    /// A message is to be sent.
    message = B24_REQUEST_MESSAGE,
    /// The application was installed. The provider has the installation already.
    install = B24_REQUEST_INSTALL,
    /// The application was removed. The provider has forgotten its tokens already.
    uninstall = B24_REQUEST_UNINSTALL,
    /// A page of the application was opened in a frame: see provider::install_request.
    frame = B24_REQUEST_FRAME,
};

/// A request that a portal has made to the provider's handler, checked to be the portal's. Any
/// number of threads may read it at once.
class request {
public:
    request_kind kind() const noexcept {
        return static_cast<request_kind>(b24_request_kind_of(handle_.get()));
    }
    /// The portal's permanent id; empty if a frame does not say it.
    std::string member_id() const { return get("member_id"); }
    /// The portal's REST address; empty if the request does not say it.
    std::string client_endpoint() const { return get("client_endpoint"); }
    /// A field under the portal's own name, such as "message_id" or "auth[user_id]"; empty if there
    /// is none, or if the name contains a NUL.
    std::string get(const std::string &name) const {
        return detail::refuse_nul({{"name", name}})
                   ? ""
                   : b24_request_get(handle_.get(), name.c_str());
    }
    /// All fields, names and values, in their order.
    result<std::vector<std::pair<std::string, std::string>>> try_fields() const {
        result<std::vector<field>> rows = detail::rows<field>(b24_request_fields, handle_.get());
        if (!rows) {
            return rows.error();
        }
        std::vector<std::pair<std::string, std::string>> all;
        for (field &one : *rows) {
            all.emplace_back(std::move(one.name), std::move(one.value));
        }
        return result<std::vector<std::pair<std::string, std::string>>>(std::move(all));
    }

#if B24_EXCEPTIONS
    /// The same, but throws error.
    std::vector<std::pair<std::string, std::string>> fields() const { return try_fields().value(); }
#endif

private:
    friend class provider;

    struct field {
        explicit field(const detail::row &from) : name(from.text("name")), value(from.text("value")) {}
        std::string name;
        std::string value;
    };

    explicit request(detail::owner<b24_request> handle) : handle_(std::move(handle)) {}

    detail::owner<b24_request> handle_;
};

/// What a drain has done, and what is left.
struct drained {
    /// How many receipts portals have stored.
    std::uint64_t sent = 0;
    /// How many were refused for good: see provider::refused.
    std::uint64_t refused = 0;
    /// How many are in the store for portals that are held: see provider::inspect.
    std::uint64_t held = 0;
    /// How many others are in the store.
    std::uint64_t waiting = 0;
    /// How long until the first of those can be sent; empty if there is none.
    std::optional<std::chrono::milliseconds> next_due;

    drained() = default;
    explicit drained(const b24_drained *from)
        : sent(b24_drained_sent(from)),
          refused(b24_drained_refused(from)),
          held(b24_drained_held(from)),
          waiting(b24_drained_waiting(from)) {
        if (b24_drained_next_due_ms(from) >= 0) {
            next_due = std::chrono::milliseconds(b24_drained_next_due_ms(from));
        }
    }
};

/// What the store has about a portal.
struct portal_state {
    /// The portal's permanent id.
    std::string member_id;
    /// Its REST address; empty if not known.
    std::string client_endpoint;
    /// active, waiting, held, uninstalled or unknown: see b24_provider_inspect.
    std::string state;
    /// Why it is waiting or held; empty otherwise.
    std::string reason;
    /// Receipts that are not sent yet, held ones included.
    std::uint64_t waiting = 0;
    /// Receipts that were given up.
    std::uint64_t refused = 0;
    /// How old the oldest of those that wait is.
    std::optional<std::chrono::milliseconds> oldest;
    /// How long until the next can be sent.
    std::optional<std::chrono::milliseconds> next_due;

    portal_state() = default;
    explicit portal_state(const detail::row &from)
        : member_id(from.text("member_id")),
          client_endpoint(from.text("client_endpoint")),
          state(from.text("state")),
          reason(from.text("reason")),
          waiting(from.count("waiting")),
          refused(from.count("refused")),
          oldest(from.time("oldest_ms")),
          next_due(from.time("next_due_ms")) {}
};

/// A receipt that was given up.
struct refused_receipt {
    /// What provider::refused takes to give those after this one.
    std::string cursor;
    /// The message; all three are empty for a reference that was never tracked.
    std::string member_id;
    std::string code;
    std::string message_id;
    /// The operator and its reference, if the receipt came by one that was never tracked.
    std::string operator_name;
    std::string reference;
    /// The status that was not sent.
    std::string status;
    /// When it came about.
    std::chrono::system_clock::time_point at;
    /// The portal's own code, or what happened.
    std::string reason;

    refused_receipt() = default;
    explicit refused_receipt(const detail::row &from)
        : cursor(from.text("cursor")),
          member_id(from.text("member_id")),
          code(from.text("code")),
          message_id(from.text("message_id")),
          operator_name(from.text("operator")),
          reference(from.text("reference")),
          status(from.text("status")),
          at(from.time("at_ms").value_or(std::chrono::milliseconds(0))),
          reason(from.text("reason")) {}
};

/// What an operator's words for the state of a message mean. One thread at a time may change it.
class vocabulary {
public:
    /// One that the library knows: "smpp", "gsm" or "twilio"; see b24_vocabulary_named.
    static result<vocabulary> try_named(const std::string &name) {
        if (outcome failure = detail::refuse_nul({{"name", name}})) {
            return *std::move(failure);
        }
        result<detail::owner<b24_vocabulary>> made =
            detail::make<b24_vocabulary>(b24_vocabulary_named, name.c_str());
        if (!made) {
            return made.error();
        }
        return vocabulary(*std::move(made));
    }

    /// One without words; the name is for the messages of errors. Fails if it contains a NUL.
    static result<vocabulary> try_make(const std::string &name) {
        if (outcome failure = detail::refuse_nul({{"name", name}})) {
            return *std::move(failure);
        }
        return vocabulary(detail::owner<b24_vocabulary>(b24_vocabulary_new(name.c_str())));
    }

    /// Says what a word means, instead of what it meant before.
    outcome try_set(const std::string &word, const std::string &status) {
        outcome failure = detail::refuse_nul({{"word", word}, {"status", status}});
        return failure ? failure
                       : detail::call(b24_vocabulary_set, handle_.get(), word.c_str(),
                                      status.c_str());
    }

    /// The status that a word means. B24_INVALID_ARGUMENT if there is no such word.
    result<std::string> try_status(const std::string &word) const {
        const char *meant = nullptr;
        outcome failure = detail::refuse_nul({{"word", word}});
        if (!failure) {
            failure = detail::call(b24_vocabulary_status, handle_.get(), word.c_str(), &meant);
        }
        if (failure) {
            return *std::move(failure);
        }
        return std::string(meant);
    }

#if B24_EXCEPTIONS
    // As those of these names with try_ above, but each throws error; the constructor is try_make.

    explicit vocabulary(const std::string &name) : vocabulary(try_make(name).value()) {}
    static vocabulary named(const std::string &name) { return try_named(name).value(); }
    vocabulary &set(const std::string &word, const std::string &status) {
        detail::raise(try_set(word, status));
        return *this;
    }
    std::string status(const std::string &word) const { return try_status(word).value(); }
#endif

private:
    explicit vocabulary(detail::owner<b24_vocabulary> handle) : handle_(std::move(handle)) {}

    detail::owner<b24_vocabulary> handle_;
};

/// Does the whole job of a provider of messages, for any number of portals. Any number of threads
/// may use one at once. Move it only while no thread is inside a call, and destroy it only while
/// none is inside another call than drain, and none begins one: a drain that is under way then ends
/// after its present requests.
///
///     b24::provider provider(b24::config().store("sqlite:/var/lib/sms/b24.db")
///                                         .client_id(id).client_secret(secret));
///     provider.report(member_id, "provider1", message_id, b24::status::delivered);
///     provider.drain(std::chrono::seconds(10));
class provider {
public:
    /// When a status came about; empty for now.
    using time = std::optional<std::chrono::system_clock::time_point>;

    /// Checks the store, and makes or updates it: see b24_provider_open.
    static result<provider> try_open(const config &from) {
        if (from.failure_) {
            return *from.failure_;
        }
        return of(detail::make<b24_provider>(b24_provider_open, from.handle_.get()));
    }

    /// Reads what was posted to the provider's handler, and checks that it is the portal's: see
    /// b24_provider_receive.
    result<b24::request> try_receive(const std::string &content_type, const std::string &body) {
        if (outcome failure = detail::refuse_nul({{"content_type", content_type}})) {
            return *std::move(failure);
        }
        result<detail::owner<b24_request>> received =
            detail::make<b24_request>(b24_provider_receive, handle_.get(), content_type.c_str(),
                                      static_cast<const void *>(body.data()), body.size());
        if (!received) {
            return received.error();
        }
        return b24::request(*std::move(received));
    }

    /// Stores an installation, once the authorization server confirms it: see b24_provider_install.
    outcome try_install(const std::string &auth_json, const std::string &application_token = "") {
        outcome failure = detail::refuse_nul(
            {{"auth_json", auth_json}, {"application_token", application_token}});
        return failure ? failure
                       : detail::call(b24_provider_install, handle_.get(), auth_json.c_str(),
                                      application_token.c_str());
    }

    /// Stores an installation from the page of the installation wizard, and from no other: see
    /// b24_provider_install_request.
    outcome try_install_request(const b24::request &frame) {
        return detail::call(b24_provider_install_request, handle_.get(), frame.handle_.get());
    }

    /// Moves the installations of a state_dir to the store, and returns how many.
    result<std::int64_t> try_import_state_dir(const std::string &path) {
        std::int64_t imported = 0;
        outcome failure = detail::refuse_nul({{"path", path}});
        if (!failure) {
            failure = detail::call(b24_provider_import_state_dir, handle_.get(), path.c_str(),
                                   &imported);
        }
        if (failure) {
            return *std::move(failure);
        }
        return imported;
    }

    /// A client of an installed portal, with the tokens of the store. It may outlive the provider.
    result<b24::client> try_client(const std::string &member_id) {
        if (outcome failure = detail::refuse_nul({{"member_id", member_id}})) {
            return *std::move(failure);
        }
        return b24::client::of(
            detail::make<b24_client>(b24_provider_client, handle_.get(), member_id.c_str()),
            nullptr);
    }

    /// Says which message an operator's reference stands for: see b24_provider_track_of.
    outcome try_track(const std::string &reference, const std::string &member_id,
                      const std::string &code, const std::string &message_id,
                      const std::string &operator_name = "") {
        outcome failure = detail::refuse_nul({{"reference", reference},
                                              {"member_id", member_id},
                                              {"code", code},
                                              {"message_id", message_id},
                                              {"operator_name", operator_name}});
        return failure ? failure
                       : detail::call(b24_provider_track_of, handle_.get(), operator_name.c_str(),
                                      reference.c_str(), member_id.c_str(), code.c_str(),
                                      message_id.c_str());
    }

    /// Stores a receipt, to be sent by a drain: see b24_provider_report.
    outcome try_report(const std::string &member_id, const std::string &code,
                       const std::string &message_id, const std::string &status,
                       time at = std::nullopt) {
        outcome failure = detail::refuse_nul({{"member_id", member_id},
                                              {"code", code},
                                              {"message_id", message_id},
                                              {"status", status}});
        return failure ? failure
                       : detail::call(b24_provider_report, handle_.get(), member_id.c_str(),
                                      code.c_str(), message_id.c_str(), status.c_str(), in_ms(at));
    }

    /// Stores receipts of one portal, all by one write to the disk, and returns the outcome of each,
    /// in order.
    result<std::vector<outcome>> try_report_batch(const std::string &member_id,
                                                  const std::vector<update> &updates) {
        if (outcome failure = detail::refuse_nul({{"member_id", member_id}})) {
            return *std::move(failure);
        }
        detail::batch batch(updates);
        b24_provider_report_batch(handle_.get(), member_id.c_str(), batch.get(), nullptr);
        return std::move(batch).outcomes();
    }

    /// Stores a receipt under the operator's reference: see b24_provider_report_reference_of.
    outcome try_report_reference(const std::string &reference, const std::string &status,
                                 time at = std::nullopt, const std::string &operator_name = "") {
        outcome failure = detail::refuse_nul(
            {{"reference", reference}, {"status", status}, {"operator_name", operator_name}});
        return failure ? failure
                       : detail::call(b24_provider_report_reference_of, handle_.get(),
                                      operator_name.c_str(), reference.c_str(), status.c_str(),
                                      in_ms(at));
    }

    /// Sends receipts for this long: see b24_provider_drain.
    result<b24::drained> try_drain(std::chrono::milliseconds budget) {
        const result<detail::owner<b24_drained>> done =
            detail::make<b24_drained>(b24_provider_drain, handle_.get(), budget.count());
        if (!done) {
            return done.error();
        }
        return b24::drained(done->get());
    }

    /// What the store has about each portal: see b24_provider_inspect.
    result<std::vector<portal_state>> try_inspect() {
        return detail::rows<portal_state>(b24_provider_inspect, handle_.get());
    }

    /// The receipts that were given up: those after the one with this cursor.
    result<std::vector<refused_receipt>> try_refused(const std::string &after = "",
                                                     std::size_t limit = 1000) {
        if (outcome failure = detail::refuse_nul({{"after", after}})) {
            return *std::move(failure);
        }
        return detail::rows<refused_receipt>(b24_provider_refused, handle_.get(), after.c_str(),
                                             limit);
    }

    /// Lets the receipts of a portal be sent again that is held.
    outcome try_resume(const std::string &member_id) {
        outcome failure = detail::refuse_nul({{"member_id", member_id}});
        return failure ? failure
                       : detail::call(b24_provider_resume, handle_.get(), member_id.c_str());
    }

    /// Removes what the store no longer needs and is older: see b24_provider_prune.
    outcome try_prune(std::chrono::seconds keep) {
        return detail::call(b24_provider_prune, handle_.get(), keep.count());
    }

    /// The same provider with a timeout for its calls: see b24_provider_limited.
    result<provider> try_with_timeout(std::chrono::milliseconds timeout) const {
        return limited(timeout.count(), nullptr);
    }

    /// The same provider, whose calls the token ends: see b24_provider_limited.
    result<provider> try_with_cancel(const cancel_token &token) const {
        return limited(0, token.handle_.get());
    }

    /// Ends the drains and other calls that are under way with B24_CANCELLED, from any thread.
    void cancel() noexcept { b24_provider_cancel(handle_.get()); }

#if B24_EXCEPTIONS
    // As those of these names with try_ above, but each throws error; the constructor is try_open.

    explicit provider(const config &from) : provider(try_open(from).value()) {}
    b24::request receive(const std::string &content_type, const std::string &body) {
        return try_receive(content_type, body).value();
    }
    void install(const std::string &auth_json, const std::string &application_token = "") {
        detail::raise(try_install(auth_json, application_token));
    }
    void install_request(const b24::request &frame) { detail::raise(try_install_request(frame)); }
    std::int64_t import_state_dir(const std::string &path) {
        return try_import_state_dir(path).value();
    }
    b24::client client(const std::string &member_id) { return try_client(member_id).value(); }
    void track(const std::string &reference, const std::string &member_id, const std::string &code,
               const std::string &message_id, const std::string &operator_name = "") {
        detail::raise(try_track(reference, member_id, code, message_id, operator_name));
    }
    void report(const std::string &member_id, const std::string &code,
                const std::string &message_id, const std::string &status, time at = std::nullopt) {
        detail::raise(try_report(member_id, code, message_id, status, at));
    }
    std::vector<outcome> report_batch(const std::string &member_id,
                                      const std::vector<update> &updates) {
        return try_report_batch(member_id, updates).value();
    }
    void report_reference(const std::string &reference, const std::string &status,
                          time at = std::nullopt, const std::string &operator_name = "") {
        detail::raise(try_report_reference(reference, status, at, operator_name));
    }
    b24::drained drain(std::chrono::milliseconds budget) { return try_drain(budget).value(); }
    std::vector<portal_state> inspect() { return try_inspect().value(); }
    std::vector<refused_receipt> refused(const std::string &after = "", std::size_t limit = 1000) {
        return try_refused(after, limit).value();
    }
    void resume(const std::string &member_id) { detail::raise(try_resume(member_id)); }
    void prune(std::chrono::seconds keep) { detail::raise(try_prune(keep)); }
    provider with_timeout(std::chrono::milliseconds timeout) const {
        return try_with_timeout(timeout).value();
    }
    provider with_cancel(const cancel_token &token) const { return try_with_cancel(token).value(); }
#endif

private:
    explicit provider(detail::owner<b24_provider> made) : handle_(std::move(made)) {}

    static result<provider> of(result<detail::owner<b24_provider>> made) {
        if (!made) {
            return made.error();
        }
        return provider(*std::move(made));
    }

    result<provider> limited(std::int64_t timeout_ms, const b24_cancel_token *token) const {
        return of(detail::make<b24_provider>(b24_provider_limited, handle_.get(), timeout_ms, token));
    }

    static std::int64_t in_ms(time at) {
        if (!at) {
            return 0;
        }
        const auto since = std::chrono::floor<std::chrono::milliseconds>(at->time_since_epoch());
        // 0 stands for now, so the first moment of 1970 becomes the second one.
        return since.count() == 0 ? 1 : since.count();
    }

    detail::owner<b24_provider> handle_;
};

/// Waits until no renewal is under way in this process: call it before the process ends; see
/// b24_renewals_wait. B24_TIMEOUT if a renewal is still under way.
inline outcome try_renewals_wait(std::chrono::milliseconds timeout) {
    return detail::call(b24_renewals_wait, timeout.count());
}

/// Whether the library that was loaded fits this header: call it when the program starts; see
/// b24_version_check.
inline outcome try_version_check() { return detail::call(b24_version_check, B24_VERSION_NUMBER); }

#if B24_EXCEPTIONS
/// The same as try_renewals_wait, but throws error.
inline void renewals_wait(std::chrono::milliseconds timeout) {
    detail::raise(try_renewals_wait(timeout));
}

/// The same as try_version_check, but throws error.
inline void version_check() { detail::raise(try_version_check()); }
#endif

/// How much a log record matters.
enum class log_level { error = 1, warning, information, debug, trace };

/// Receives log records; see b24_log_callback. The texts are valid during the call.
using log_callback =
    std::function<void(log_level level, std::string_view target, std::string_view message)>;

namespace detail {

// Code with and without exceptions may meet in one program, hence the parameter.
template <bool Exceptions>
void log(std::int32_t level, const char *target, const char *message, void *user) noexcept {
    const log_callback &callback = *static_cast<const log_callback *>(user);
#if B24_EXCEPTIONS
    try {
        callback(static_cast<log_level>(level), target, message);
    } catch (...) {
        // A call does not fail because its log does.
    }
#else
    callback(static_cast<log_level>(level), target, message);
#endif
}

inline void log_free(void *user) noexcept { delete static_cast<log_callback *>(user); }

}  // namespace detail

/// Sets the function that receives the library's log records up to a level, for the whole process,
/// instead of one that was set before. Several threads may be in it at once. An exception in it ends
/// the function, and nothing else. It must not make calls of this library. It is kept until it was
/// replaced and no thread is inside it any more; what it refers to must stay valid as long. An empty
/// function turns the log off.
template <bool Exceptions = (B24_EXCEPTIONS != 0)>
void log_to(log_callback callback, log_level most = log_level::information) {
    if (callback) {
        b24_log_set_owned(&detail::log<Exceptions>, new log_callback(std::move(callback)),
                          &detail::log_free, static_cast<std::int32_t>(most));
    } else {
        b24_log_set(nullptr, nullptr, 0);
    }
}

/// Turns the log off.
inline void log_off() noexcept { b24_log_set(nullptr, nullptr, 0); }

}  // namespace b24

#endif
#endif
