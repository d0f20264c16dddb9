// The C++ wrapper against the portal emulator: what it adds to C is what is tested here.
#include <b24_messageservice.hpp>

#include "check.h"
#include "portal.h"

#include <future>
#include <thread>
#include <type_traits>

namespace {

const std::string message = "65575980fa531ac284c2ee68f81ebebd";

b24::config config() {
    b24::config made;
    for (const char *name : {"portal", "ca_file", "resolve", "oauth_url"}) {
        made.set(name, portal_option(name));
    }
    made.set("proxy", "none").set("rate_limit", "off");
    made.set("access_token", "access-0000000000000001");
    return made;
}

// The code of what a call throws; B24_OK if it throws nothing.
template <typename Call>
b24_code thrown(Call call) {
    try {
        call();
    } catch (const b24::error &error) {
        CHECK(error.what()[0] != '\0');
        return error.code();
    }
    return B24_OK;
}

void calls_and_exceptions() {
    portal_reset(R"({"messages":["provider1|65575980fa531ac284c2ee68f81ebebd"]})");
    b24::client client(config());
    client.message_status_update("provider1", message, b24::status::delivered);
    CHECK(std::string(portal_ask("GET", "/messages", "")).find("delivered") != std::string::npos);

    const b24::outcome good = client.try_message_status_update("provider1", message, "sent");
    CHECK(!good);
    const b24::outcome bad = client.try_message_status_update("provider1", "other", "sent");
    if (CHECK(bad.has_value())) {
        CHECK_NUMBER(bad->code(), B24_MESSAGE_NOT_FOUND);
        CHECK(bad->portal_code() == "ERROR_MESSAGE_NOT_FOUND");
        CHECK(bad->description() == "Message not found!");
        CHECK_NUMBER(bad->http_status(), 400);
        CHECK(!bad->is_retryable());
        CHECK(!bad->retry_after());
    }
    CHECK_NUMBER(thrown([&] { client.message_status_update("provider1", "other", "sent"); }),
                 B24_MESSAGE_NOT_FOUND);
    CHECK_NUMBER(thrown([&] { client.message_status_update("provider1", message, "lost"); }),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([] { b24::config().set("no_such_option", "1"); }), B24_INVALID_CONFIG);
    CHECK_NUMBER(thrown([] { b24::client nowhere{b24::config()}; }), B24_INVALID_CONFIG);
}

void what_is_known_of_waiting_is_told() {
    portal_reset("{}");
    portal_ask("POST", "/fault", R"([{"kind":"error","status":503,"error":"QUERY_LIMIT_EXCEEDED",)"
                                 R"("headers":{"Retry-After":"7"}}])");
    b24::client client(config().set("max_retries", "0"));
    const b24::outcome bad = client.try_message_status_update("provider1", message, "sent");
    if (CHECK(bad.has_value())) {
        CHECK_NUMBER(bad->code(), B24_RATE_LIMITED);
        CHECK_TEXT(bad->code_name(), "B24_RATE_LIMITED");
        CHECK(bad->is_retryable());
        CHECK(bad->retry_after() == std::chrono::seconds(7));
    }
}

// The message of the first value that a configuration could not take; empty if it took all.
std::string failure_of(const b24::config &made) {
    return made.failure() ? made.failure()->what() : "";
}

void options_have_functions_and_types() {
    using namespace std::chrono_literals;
    portal_reset("{}");
    b24::config made;
    made.set("resolve", portal_option("resolve"))
        .portal(portal_option("portal"))
        .access_token("access-0000000000000001")
        .oauth_url(portal_option("oauth_url"))
        .ca_file(portal_option("ca_file"))
        .proxy("none")
        .timeout(20s)
        .connect_timeout(1min)
        .max_retries(7)
        .redirect_hosts({"a.example.com", "b.example.com"})
        .user_agent(std::string_view("gateway/1 and more", 9))
        .allow_http(false)
        .rate_limit("40/3")
        .rate_limit(40, 3);
    for (const b24::rate rate : {b24::rate::standard, b24::rate::enterprise, b24::rate::off}) {
        made.rate_limit(rate);
    }
    CHECK(failure_of(made).empty());
    b24::client client(made);
    client.message_status_update("provider1", message, "sent");
    CHECK(std::string(portal_ask("GET", "/seen", "")).find("gateway/1 b24") != std::string::npos);
    portal_ask("POST", "/fault", R"([{"kind":"hang","count":9}])");
    b24::client hurried(made.timeout(200ms).max_retries(0));
    CHECK_NUMBER(thrown([&] { hurried.message_status_update("provider1", message, "sent"); }),
                 B24_TIMEOUT);

    b24::config stored;
    stored.resolve({"a.example.com:443:127.0.0.1", "*:443:127.0.0.1:8443"});
    stored.store("sqlite:sms.db").store_max_mb(100).store_key_file("keys").workers(0);
    stored.durability(b24::durability::process).durability(b24::durability::disk);
    CHECK(failure_of(stored).empty());

    const std::pair<const char *, std::function<void(b24::config &)>> wrong[] = {
        {"timeout_ms", [](b24::config &c) { c.timeout(-1ms); }},
        {"connect_timeout_ms", [](b24::config &c) { c.connect_timeout(0ms); }},
        {"max_retries", [](b24::config &c) { c.max_retries(-1); }},
        {"rate_limit", [](b24::config &c) { c.rate_limit(0, 0); }},
        {"workers", [](b24::config &c) { c.workers(257); }},
        {"redirect_hosts", [](b24::config &c) { c.redirect_hosts({"a.example.com,b.example.com"}); }},
        {"durability", [](b24::config &c) { c.durability("memory"); }},
    };
    for (const auto &[name, set] : wrong) {
        b24::config first = config();
        set(first);
        if (!CHECK(failure_of(first).find(name) != std::string::npos)) {
            fprintf(stderr, "    %s: %s\n", name, failure_of(first).c_str());
        }
        // The first one stands, and what is made of it says so.
        first.user_agent("gateway/1").proxy("no proxy");
        CHECK(failure_of(first).find(name) != std::string::npos);
        CHECK_NUMBER(thrown([&] { b24::client refused(first); }), B24_INVALID_CONFIG);
        CHECK_NUMBER(thrown([&] { b24::client::shared(first); }), B24_INVALID_CONFIG);
        CHECK_NUMBER(thrown([&] { b24::provider refused(first); }), B24_INVALID_CONFIG);
    }
}

void the_library_fits_the_header() {
    CHECK_NUMBER(thrown([] { b24::version_check(); }), B24_OK);
}

// Its texts, and what it owns, which goes when it was replaced.
void the_log_is_a_function() {
    portal_reset(R"({"messages":[]})");
    b24::client client(config());
    const auto update = [&] { client.try_message_status_update("provider1", message, "sent"); };
    auto kept = std::make_shared<int>(0);
    int unknown = 0;
    b24::log_to(
        [kept, &unknown](b24::log_level level, std::string_view target, std::string_view text) {
            ++*kept;
            unknown += target.substr(0, 18) != "b24_messageservice" || text.empty() ||
                       level < b24::log_level::error || level > b24::log_level::trace;
        },
        b24::log_level::trace);
    update();
    CHECK(*kept > 0);
    CHECK_NUMBER(unknown, 0);

    // What one throws ends with it.
    int thrown_by_it = 0;
    b24::log_to(
        [&thrown_by_it](b24::log_level, std::string_view, std::string_view) {
            thrown_by_it++;
            throw std::runtime_error("a log that fails");
        },
        b24::log_level::trace);
    CHECK_NUMBER(kept.use_count(), 1);
    CHECK_NUMBER(thrown([&] { client.message_status_update("provider1", message, "sent"); }),
                 B24_MESSAGE_NOT_FOUND);
    CHECK(thrown_by_it > 0);

    // One that another thread is inside stays until it has returned.
    std::promise<void> inside;
    std::promise<void> go_on;
    std::future<void> may_go_on = go_on.get_future();
    b24::log_to(
        [kept, &inside, &may_go_on, first = true](auto...) mutable {
            if (std::exchange(first, false)) {
                inside.set_value();
                may_go_on.wait();
            }
        },
        b24::log_level::trace);
    std::thread other(update);
    inside.get_future().wait();
    b24::log_off();
    CHECK_NUMBER(kept.use_count(), 2);
    go_on.set_value();
    other.join();
    CHECK_NUMBER(kept.use_count(), 1);

    const int before = *kept;
    b24::log_to([kept](auto...) { ++*kept; });
    b24::log_to(nullptr, b24::log_level::trace);
    update();
    CHECK_NUMBER(*kept, before);
    CHECK_NUMBER(kept.use_count(), 1);
}

// C would cut the text there, and report another message.
void a_nul_inside_is_refused() {
    portal_reset("{}");
    b24::client client(config());
    const std::string cut("65575980\0tail", 13);
    CHECK_NUMBER(thrown([&] { client.message_status_update("provider1", cut, "sent"); }),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { client.message_status_update(cut, message, "sent"); }),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { client.message_status_update("provider1", message, cut); }),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { config().set("user_agent", cut); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(portal_seen("requests"), 0);
}

void a_batch_has_a_fate_for_each() {
    portal_reset(R"({"messages":["provider1|one","provider1|four"]})");
    b24::client client(config());
    const auto outcomes = client.message_status_update_batch({
        {"provider1", "one", b24::status::sent},
        {"provider1", std::string("t\0wo", 4), b24::status::sent},
        {"provider1", "three", b24::status::sent},
        {"provider1", "four", b24::status::delivered},
        {"provider1", "five", "lost"},
    });
    if (CHECK_NUMBER(outcomes.size(), 5)) {
        CHECK(!outcomes[0]);
        CHECK(outcomes[1] && outcomes[1]->code() == B24_INVALID_ARGUMENT);
        CHECK(outcomes[2] && outcomes[2]->code() == B24_MESSAGE_NOT_FOUND);
        CHECK(!outcomes[3]);
        CHECK(outcomes[4] && outcomes[4]->code() == B24_INVALID_ARGUMENT);
    }
    CHECK(client.message_status_update_batch({}).empty());
}

void senders_and_lists() {
    portal_reset(R"({"message_statuses":{"7":"Delivered"}})");
    b24::client client(config());
    b24::sender provider("provider1");
    provider.handler("https://provider.example.com/send")
        .name("One")
        .description_in("en", "SMS")
        .description_in("de", "Kurznachrichten")
        .type("SMS");
    b24::sender moved = std::move(provider);
    client.sender_add(moved);
    CHECK_NUMBER(thrown([&] { client.sender_add(moved); }), B24_PORTAL);
    CHECK_NUMBER(thrown([&] { client.sender_update(moved); }), B24_INVALID_ARGUMENT);  // the type
    client.sender_update(b24::sender("provider1").name_in("en", "Two").description("SMS"));
    const std::string kept = portal_ask("GET", "/senders", "");
    CHECK(kept.find(R"("name":{"en":"Two"})") != std::string::npos);
    CHECK(kept.find(R"("description":"SMS")") != std::string::npos);
    CHECK(client.sender_list() == std::vector<std::string>{"provider1"});
    client.sender_delete("provider1");
    CHECK(client.sender_list().empty());
    CHECK_NUMBER(thrown([&] { client.sender_delete("provider1"); }), B24_PORTAL);

    CHECK(client.message_status_get(7) == "Delivered");
    CHECK_NUMBER(thrown([&] { client.message_status_get(8); }), B24_MESSAGE_NOT_FOUND);
    CHECK_NUMBER(thrown([&] { client.message_status_get(0); }), B24_INVALID_ARGUMENT);

    const long requests = portal_seen("requests");
    const std::string cut("a\0b", 3);
    CHECK_NUMBER(thrown([&] { b24::sender refused(cut); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { moved.name(cut); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { moved.name_in(cut, "One"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { moved.handler("\xFF"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { client.sender_delete(cut); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { client.sender_add(b24::sender("provider1")); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(portal_seen("requests"), requests);
}

// The function outlives the configuration that it was given to, and the tokens it got last.
void renewed_tokens_reach_a_function() {
    int renewals = 0;
    std::string kept;
    portal_reset(R"({"expired":true,"access_token":"access-of-cpp","refresh_token":"refresh-of-cpp"})");
    auto made = std::make_unique<b24::config>(config());
    made->set("access_token", "access-of-cpp").set("refresh_token", "refresh-of-cpp");
    made->set("client_id", "app.1").set("client_secret", "secret-0000000000000001");
    made->on_renewal([&](const b24::tokens &tokens) {
        renewals++;
        kept = tokens.access_token;
    });
    b24::client client(*made);
    made.reset();
    b24::client moved = std::move(client);
    moved.message_status_update("provider1", message, b24::status::sent);
    CHECK_NUMBER(renewals, 1);
    const b24::tokens tokens = moved.tokens();
    CHECK(tokens.access_token == kept && kept != "access-of-cpp");
    CHECK(tokens.refresh_token != "refresh-of-cpp" && !tokens.refresh_token.empty());
    CHECK(!tokens.client_endpoint.empty() && !tokens.member_id.empty() && tokens.expires > 0);
}

// Who destroys a client does not take the function from a renewal that it left behind; when the
// renewal is over, the function goes.
void a_function_outlives_the_client_that_renews() {
    auto kept = std::make_shared<std::string>();
    portal_reset(R"({"expired":true,"access_token":"access-left","refresh_token":"refresh-left",
                     "oauth_latency_ms":60000})");
    {
        b24::config made = config();
        made.set("access_token", "access-left").set("refresh_token", "refresh-left");
        made.set("client_id", "app.1").set("client_secret", "secret-0000000000000001");
        made.set("timeout_ms", "2000");
        made.on_renewal([kept](const b24::tokens &tokens) { *kept = tokens.refresh_token; });
        const auto outcome = b24::client(made).try_message_status_update("provider1", message, "sent");
        CHECK(outcome && outcome->code() == B24_TIMEOUT);
    }
    CHECK_NUMBER(kept.use_count(), 2);
    const auto wait = [](int ms) { b24::renewals_wait(std::chrono::milliseconds(ms)); };
    CHECK_NUMBER(thrown([&] { wait(0); }), B24_TIMEOUT);
    portal_ask("POST", "/release", "");
    CHECK_NUMBER(thrown([&] { wait(45000); }), B24_OK);
    CHECK(!kept->empty() && strstr(portal_ask("GET", "/tokens", ""), kept->c_str()));
    // The next function that is no longer needed takes the former along.
    b24::config().on_renewal([](const b24::tokens &) {});
    CHECK_NUMBER(kept.use_count(), 1);
    CHECK_NUMBER(thrown([&] { wait(-1); }), B24_INVALID_ARGUMENT);
}

void a_token_cancels_its_calls_alone() {
    portal_reset("{}");
    b24::client client(config());
    b24::cancel_token token;
    b24::client limited = client.with_timeout(std::chrono::seconds(20)).with_cancel(token);
    limited.message_status_update("provider1", message, "sent");
    token.cancel();
    const auto update = [&] { limited.message_status_update("provider1", message, "sent"); };
    CHECK_NUMBER(thrown(update), B24_CANCELLED);
    client.message_status_update("provider1", message, "delivered");
    CHECK_NUMBER(portal_seen("requests"), 2);
    const auto negative = [&] { client.with_timeout(std::chrono::milliseconds(-1)); };
    CHECK_NUMBER(thrown(negative), B24_INVALID_ARGUMENT);
}

void a_shared_client_keeps_its_connection() {
    portal_reset("{}");
    for (int i = 0; i < 3; i++) {
        b24::client::shared(config()).message_status_update("provider1", message, "sent");
    }
    CHECK_NUMBER(portal_seen("connections"), 1);
    b24::client::shared(config()).cancel();

    // With a function too, as long as the configuration is the same.
    portal_reset("{}");
    b24::config with_function = config();
    with_function.on_renewal([](const b24::tokens &) {});
    for (int i = 0; i < 3; i++) {
        b24::client::shared(with_function).message_status_update("provider1", message, "sent");
    }
    CHECK_NUMBER(portal_seen("connections"), 1);
}

void a_provider_does_its_job() {
    portal_reset("{}");
    const std::string member = "a223c6b3710f85df22e9377d6c4f7553";
    const std::string form = "application/x-www-form-urlencoded";
    const std::string host = R"({"host":"portal.bitrix24.test"})";
    b24::config made;
    made.set("store", std::string("sqlite:") + portal_directory() + "/wrapper.db");
    made.set("client_id", "app.1").set("client_secret", "secret-0000000000000001");
    made.set("proxy", "none").set("rate_limit", "off").set("ca_file", portal_option("ca_file"));
    made.set("oauth_url", portal_option("provider_oauth_url"));
    made.set("resolve", portal_option("provider_resolve"));
    b24::provider opened(made);
    b24::provider provider = std::move(opened);
    CHECK_NUMBER(thrown([] { b24::provider nowhere{b24::config()}; }), B24_INVALID_CONFIG);

    CHECK_NUMBER(thrown([&] { provider.receive("text/html", "<p>"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { provider.receive(form, portal_request("/message", host.c_str())); }),
                 B24_ACCESS_DENIED);
    b24::request installed = provider.receive(form, portal_request("/install", host.c_str()));
    CHECK(installed.kind() == b24::request_kind::install);
    b24::request message = provider.receive(
        form, portal_request("/message", R"({"host":"portal.bitrix24.test","message_id":"m1"})"));
    CHECK(message.kind() == b24::request_kind::message);
    CHECK(message.member_id() == member);
    CHECK(message.client_endpoint().find("https://portal.bitrix24.test") == 0);
    CHECK(message.get("message_id") == "m1");
    CHECK(message.get("no such field").empty());
    CHECK(message.get(std::string("message_id\0", 11)).empty());
    std::size_t found = 0;
    for (const auto &[name, value] : message.fields()) {
        found += name == "message_id" && value == "m1";
    }
    CHECK_NUMBER(found, 1);

    const auto then = std::chrono::system_clock::now() - std::chrono::hours(1);
    provider.report(member, "provider1", "m1", b24::status::delivered, then);
    provider.report(member, "provider1", "m1", b24::status::sent);
    const auto outcomes = provider.report_batch(
        member, {{"provider1", "m2", "sent"},
                 {"provider1", std::string("m\0", 2), "sent"},
                 {"provider1", "m3", "lost"}});
    CHECK(!outcomes[0]);
    CHECK(outcomes[1] && outcomes[1]->code() == B24_INVALID_ARGUMENT);
    CHECK(outcomes[2] && outcomes[2]->code() == B24_INVALID_ARGUMENT);
    const auto words = b24::vocabulary::named("smpp");
    provider.track("r1", member, "provider1", "m4");
    provider.track("r1", member, "provider1", "m5", "smsc1");
    provider.report_reference("r1", words.status("UNDELIV"));
    provider.report_reference("r1", words.status("DELIVRD"), then, "smsc1");

    const auto portals = provider.inspect();
    if (CHECK_NUMBER(portals.size(), 1)) {
        CHECK(portals[0].member_id == member && portals[0].state == "active");
        CHECK_NUMBER(portals[0].waiting, 4);
        CHECK(portals[0].oldest.has_value());
    }
    const b24::drained drained = provider.drain(std::chrono::seconds(2));
    CHECK_NUMBER(drained.sent, 4);
    CHECK(drained.waiting == 0 && drained.held == 0 && drained.refused == 0 && !drained.next_due);
    const std::string stored = portal_ask("GET", "/messages", "");
    for (const char *one : {R"("provider1|m1":"delivered")", R"("provider1|m2":"sent")",
                            R"("provider1|m4":"undelivered")", R"("provider1|m5":"delivered")"}) {
        CHECK(stored.find(one) != std::string::npos);
    }
    CHECK(!provider.inspect().at(0).oldest);

    b24::client client = provider.client(member);
    client.message_status_update("provider1", "m6", "sent");
    CHECK_NUMBER(thrown([&] { provider.client("nobody"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { provider.import_state_dir("/nowhere/at/all"); }), B24_STORAGE);
    CHECK_NUMBER(thrown([&] { provider.install("{}"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { provider.install_request(message); }), B24_INVALID_ARGUMENT);
    provider.resume(member);
    provider.prune(std::chrono::hours(24));

    provider.report(member, "provider1", "m7", b24::status::failed, then);
    provider.receive(form, portal_request("/uninstall", host.c_str()));
    CHECK_NUMBER(provider.drain(std::chrono::milliseconds(500)).refused, 1);
    const auto refused = provider.refused();
    if (CHECK_NUMBER(refused.size(), 1)) {
        CHECK(refused[0].message_id == "m7" && refused[0].status == "failed");
        CHECK(refused[0].at == std::chrono::floor<std::chrono::milliseconds>(then));
        CHECK(provider.refused(refused[0].cursor).empty());
    }

    const std::string cut("a\0b", 3);
    CHECK_NUMBER(thrown([&] { provider.report(cut, "provider1", "m", "sent"); }),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { provider.report_reference("r", "sent", {}, cut); }),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { provider.track(cut, member, "provider1", "m"); }),
                 B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { provider.refused(cut); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { provider.drain(std::chrono::milliseconds(-1)); }),
                 B24_INVALID_ARGUMENT);
    provider.cancel();
    b24::cancel_token token;
    token.cancel();
    const auto limited = [&] {
        provider.with_timeout(std::chrono::seconds(20)).with_cancel(token).inspect();
    };
    CHECK_NUMBER(thrown(limited), B24_CANCELLED);
    // The end of the limited ones has not ended it.
    CHECK_NUMBER(thrown([&] { provider.inspect(); }), B24_OK);
}

void a_vocabulary_knows_words() {
    b24::vocabulary words("mine");
    words.set("OK", b24::status::delivered).set("NOK", "failed");
    b24::vocabulary moved = std::move(words);
    CHECK(moved.status("ok") == "delivered" && moved.status(" NOK ") == "failed");
    CHECK_NUMBER(thrown([&] { moved.status("other"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { moved.set("OK", "lost"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([&] { moved.set(std::string("O\0K", 3), "sent"); }), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(thrown([] { b24::vocabulary::named("klingon"); }), B24_INVALID_ARGUMENT);
    CHECK(b24::vocabulary::named("twilio").status("read") == "delivered");
}

static_assert(std::is_nothrow_move_constructible<b24::client>::value, "clients move");
static_assert(!std::is_copy_constructible<b24::client>::value, "clients have one owner");
static_assert(std::is_nothrow_move_constructible<b24::provider>::value, "providers move");
static_assert(!std::is_copy_constructible<b24::provider>::value, "providers have one owner");
static_assert(std::is_nothrow_move_constructible<b24::request>::value, "requests move");
// "false" would be true.
template <typename Value, typename = void>
struct is_flag : std::false_type {};
template <typename Value>
struct is_flag<Value, std::void_t<decltype(std::declval<b24::config &>().allow_http(Value()))>>
    : std::true_type {};
static_assert(is_flag<bool>::value && !is_flag<const char *>::value, "flags are no texts");
static_assert(std::is_base_of<std::runtime_error, b24::error>::value, "errors are exceptions");

}  // namespace

int main() {
    portal_start();
    calls_and_exceptions();
    what_is_known_of_waiting_is_told();
    options_have_functions_and_types();
    the_library_fits_the_header();
    the_log_is_a_function();
    a_nul_inside_is_refused();
    a_batch_has_a_fate_for_each();
    senders_and_lists();
    renewed_tokens_reach_a_function();
    a_function_outlives_the_client_that_renews();
    a_token_cancels_its_calls_alone();
    a_shared_client_keeps_its_connection();
    a_vocabulary_knows_words();
    a_provider_does_its_job();
    portal_stop();
    return summary("wrapper");
}
