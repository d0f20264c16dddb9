// The C++ wrapper without exceptions and without RTTI: errors are results.
#include <b24_messageservice.hpp>

#include "check.h"
#include "portal.h"

#if B24_EXCEPTIONS
#error "compile this with -fno-exceptions"
#endif

namespace {

const std::string message = "65575980fa531ac284c2ee68f81ebebd";
const std::string cut("a\0b", 3);

b24_code code_of(const b24::outcome &failure) {
    return failure ? failure->code() : B24_OK;
}

template <typename Value>
b24_code code_of(const b24::result<Value> &result) {
    return result ? B24_OK : result.error().code();
}

b24::config config() {
    b24::config made;
    // As one text.
    CHECK_NUMBER(code_of(made.try_set("resolve", portal_option("resolve"))), B24_OK);
    made.portal(portal_option("portal"))
        .ca_file(portal_option("ca_file"))
        .oauth_url(portal_option("oauth_url"))
        .proxy("none")
        .rate_limit(b24::rate::off)
        .access_token("access-0000000000000001");
    return made;
}

void a_client_gives_results() {
    portal_reset(R"({"messages":["provider1|65575980fa531ac284c2ee68f81ebebd"],)"
                 R"("message_statuses":{"7":"Delivered"}})");
    CHECK_NUMBER(code_of(b24::client::try_make(b24::config())), B24_INVALID_CONFIG);
    CHECK_NUMBER(code_of(b24::client::try_make(config().workers(-1))), B24_INVALID_CONFIG);
    b24::config by_name;
    CHECK_NUMBER(code_of(by_name.try_set("timeout_ms", "1000")), B24_OK);
    CHECK_NUMBER(code_of(by_name.try_set("no_such_option", "1")), B24_INVALID_CONFIG);
    CHECK_NUMBER(code_of(by_name.try_set("user_agent", cut)), B24_INVALID_ARGUMENT);

    b24::result<b24::client> made = b24::client::try_make(config());
    if (!CHECK(made.has_value())) {
        return;
    }
    b24::client client = *std::move(made);
    CHECK_NUMBER(code_of(client.try_message_status_update("provider1", message, "sent")), B24_OK);
    const b24::outcome bad = client.try_message_status_update("provider1", "other", "sent");
    CHECK(bad && bad->portal_code() == "ERROR_MESSAGE_NOT_FOUND");
    CHECK_NUMBER(code_of(client.try_message_status_update(cut, "other", "sent")),
                 B24_INVALID_ARGUMENT);
    const auto outcomes =
        client.message_status_update_batch({{"provider1", message, "delivered"},
                                            {"provider1", "other", "sent"}});
    CHECK(outcomes.size() == 2 && !outcomes[0] && code_of(outcomes[1]) == B24_MESSAGE_NOT_FOUND);

    const b24::result<std::string> status = client.try_message_status_get(7);
    CHECK(status && *status == "Delivered");
    CHECK_NUMBER(code_of(client.try_message_status_get(8)), B24_MESSAGE_NOT_FOUND);
    CHECK(!client.tokens().access_token.empty());

    b24::cancel_token token;
    b24::result<b24::client> limited = client.try_with_cancel(token);
    CHECK(limited && limited->try_with_timeout(std::chrono::seconds(1)));
    CHECK_NUMBER(code_of(client.try_with_timeout(std::chrono::seconds(-1))), B24_INVALID_ARGUMENT);
    token.cancel();
    CHECK_NUMBER(code_of(limited->try_message_status_update("provider1", message, "sent")),
                 B24_CANCELLED);
    b24::result<b24::client> shared = b24::client::try_shared(config());
    CHECK_NUMBER(code_of(shared->try_message_status_update("provider1", message, "sent")), B24_OK);
}

void senders_give_results() {
    portal_reset("{}");
    b24::result<b24::client> client = b24::client::try_make(config());
    b24::result<b24::sender> sender = b24::sender::try_make("provider1");
    if (!CHECK(client && sender)) {
        return;
    }
    CHECK_NUMBER(code_of(b24::sender::try_make(cut)), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(sender->try_set("handler", "https://provider.example.com/send")), B24_OK);
    CHECK_NUMBER(code_of(sender->try_set_in("en", "name", "One")), B24_OK);
    CHECK_NUMBER(code_of(sender->try_set("name", cut)), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(sender->try_set_in(cut, "name", "One")), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(sender->try_set("colour", "red")), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(client->try_sender_add(*sender)), B24_OK);
    CHECK_NUMBER(code_of(client->try_sender_add(*sender)), B24_PORTAL);
    CHECK_NUMBER(code_of(client->try_sender_update(*sender)), B24_OK);
    const auto senders = client->try_sender_list();
    CHECK(senders && *senders == std::vector<std::string>{"provider1"});
    CHECK_NUMBER(code_of(client->try_sender_delete(cut)), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(client->try_sender_delete("provider1")), B24_OK);
}

void a_renewal_reaches_a_function() {
    portal_reset(
        R"({"expired":true,"access_token":"access-of-cpp","refresh_token":"refresh-of-cpp"})");
    int renewals = 0;
    b24::config made = config();
    made.access_token("access-of-cpp")
        .refresh_token("refresh-of-cpp")
        .client_id("app.1")
        .client_secret("secret-0000000000000001")
        .on_renewal([&](const b24::tokens &) { renewals++; });
    b24::result<b24::client> client = b24::client::try_make(made);
    CHECK_NUMBER(code_of(client->try_message_status_update("provider1", message, "sent")), B24_OK);
    CHECK_NUMBER(code_of(b24::try_renewals_wait(std::chrono::seconds(45))), B24_OK);
    CHECK_NUMBER(code_of(b24::try_renewals_wait(std::chrono::seconds(-1))), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(renewals, 1);
}

void the_log_is_a_function() {
    portal_reset("{}");
    b24::result<b24::client> client = b24::client::try_make(config());
    auto kept = std::make_shared<int>(0);
    b24::log_to([kept](auto...) { ++*kept; }, b24::log_level::trace);
    CHECK_NUMBER(code_of(client->try_message_status_update("provider1", message, "sent")), B24_OK);
    CHECK(*kept > 0);
    b24::log_off();
    CHECK_NUMBER(kept.use_count(), 1);
    CHECK_NUMBER(code_of(b24::try_version_check()), B24_OK);
}

void words_give_results() {
    b24::result<b24::vocabulary> words = b24::vocabulary::try_make("mine");
    if (CHECK(words.has_value())) {
        CHECK_NUMBER(code_of(words->try_set("OK", "delivered")), B24_OK);
        CHECK_NUMBER(code_of(words->try_set("OK", "lost")), B24_INVALID_ARGUMENT);
        const b24::result<std::string> meant = words->try_status("ok");
        CHECK(meant && *meant == "delivered");
        CHECK_NUMBER(code_of(words->try_status("other")), B24_INVALID_ARGUMENT);
        CHECK_NUMBER(code_of(words->try_status(cut)), B24_INVALID_ARGUMENT);
    }
    CHECK(b24::vocabulary::try_named("smpp").has_value());
    CHECK_NUMBER(code_of(b24::vocabulary::try_named("klingon")), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(b24::vocabulary::try_make(cut)), B24_INVALID_ARGUMENT);
}

void a_provider_gives_results() {
    portal_reset("{}");
    const std::string member = "a223c6b3710f85df22e9377d6c4f7553";
    const std::string form = "application/x-www-form-urlencoded";
    const std::string host = R"({"host":"portal.bitrix24.test"})";
    b24::config made;
    CHECK_NUMBER(code_of(made.try_set("resolve", portal_option("provider_resolve"))), B24_OK);
    made.store(std::string("sqlite:") + portal_directory() + "/results.db")
        .durability(b24::durability::process)
        .client_id("app.1")
        .client_secret("secret-0000000000000001")
        .proxy("none")
        .rate_limit(b24::rate::off)
        .ca_file(portal_option("ca_file"))
        .oauth_url(portal_option("provider_oauth_url"));
    CHECK_NUMBER(code_of(b24::provider::try_open(b24::config())), B24_INVALID_CONFIG);
    b24::result<b24::provider> provider = b24::provider::try_open(made);
    if (!CHECK(provider.has_value())) {
        return;
    }
    CHECK_NUMBER(code_of(provider->try_receive("text/html", "<p>")), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(provider->try_receive(cut, "")), B24_INVALID_ARGUMENT);
    const auto installed = provider->try_receive(form, portal_request("/install", host.c_str()));
    CHECK(installed && installed->kind() == b24::request_kind::install);
    CHECK(installed->try_fields().has_value());
    CHECK_NUMBER(code_of(provider->try_install("{}")), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(provider->try_install_request(*installed)), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(provider->try_import_state_dir("/nowhere/at/all")), B24_STORAGE);
    CHECK(provider->try_client(member).has_value());
    CHECK_NUMBER(code_of(provider->try_client("nobody")), B24_INVALID_ARGUMENT);

    CHECK_NUMBER(code_of(provider->try_report(member, "provider1", "m1", "sent")), B24_OK);
    CHECK_NUMBER(code_of(provider->try_report(member, "provider1", cut, "sent")),
                 B24_INVALID_ARGUMENT);
    const auto outcomes = provider->try_report_batch(
        member, {{"provider1", "m2", "sent"}, {"provider1", "m3", "lost"}});
    CHECK(outcomes && outcomes->size() == 2 && !(*outcomes)[0] && (*outcomes)[1]);
    CHECK_NUMBER(code_of(provider->try_report_batch(cut, {})), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(provider->try_track("r1", member, "provider1", "m4")), B24_OK);
    CHECK_NUMBER(code_of(provider->try_report_reference("r1", "sent")), B24_OK);
    CHECK_NUMBER(code_of(provider->try_report_reference(cut, "sent")), B24_INVALID_ARGUMENT);
    const auto portals = provider->try_inspect();
    CHECK(portals && portals->size() == 1 && portals->front().waiting == 3);
    const auto drained = provider->try_drain(std::chrono::seconds(2));
    CHECK(drained && drained->sent == 3 && drained->waiting == 0);
    CHECK_NUMBER(code_of(provider->try_drain(std::chrono::seconds(-1))), B24_INVALID_ARGUMENT);
    const auto refused = provider->try_refused();
    CHECK(refused && refused->empty());
    CHECK_NUMBER(code_of(provider->try_refused("no cursor")), B24_INVALID_ARGUMENT);
    CHECK_NUMBER(code_of(provider->try_resume(member)), B24_OK);
    CHECK_NUMBER(code_of(provider->try_prune(std::chrono::hours(24))), B24_OK);

    b24::cancel_token token;
    token.cancel();
    b24::result<b24::provider> limited = provider->try_with_timeout(std::chrono::seconds(20));
    CHECK_NUMBER(code_of(limited->try_with_cancel(token)->try_inspect()), B24_CANCELLED);
}

}  // namespace

int main() {
    portal_start();
    a_client_gives_results();
    senders_give_results();
    a_renewal_reaches_a_function();
    the_log_is_a_function();
    words_give_results();
    a_provider_gives_results();
    portal_stop();
    return summary("results");
}
