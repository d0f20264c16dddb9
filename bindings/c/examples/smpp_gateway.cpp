// A gateway between portals and an SMSC that speaks SMPP 3.4: takes the portals' messages, submits
// them, and reports what the delivery receipts say.
//
//     B24_CLIENT_SECRET=… ./smpp_gateway store=sqlite:/var/lib/sms/b24.db client_id=app.1 < requests
//
// Two further options are its own: handler=https://gateway.example.com/sms, the address at which it
// is registered with portals, and operator=smsc1, the name of the SMSC, whose ids are its own.
//
// Each line of the input is the body of a request that a portal has posted to the handler, in form
// encoding, as the program's web server would have it. The SMSC is a thread of this program, which
// does with receipts what real ones do: it delivers them out of order, twice, and before it has
// answered the submission.
//
// Three things happen at once, each in threads of its own: requests come in, receipts come in, and
// statuses go out. What connects them is the provider's store, so nothing is lost if the program ends:
// what it has acknowledged is sent by the next one.
#include <b24_messageservice.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>

namespace {

// The command_status of SMPP with which a program answers a deliver_sm.
constexpr std::uint32_t ESME_ROK = 0x00;        // taken
constexpr std::uint32_t ESME_RX_T_APPN = 0x64;  // a temporary error: deliver it again

// The SMSC's side, in short: submit_sm and its answer, and deliver_sm with the receipts.
class smsc {
public:
    using deliver_sm = std::function<std::uint32_t(const std::string &short_message)>;

    explicit smsc(deliver_sm deliver) : deliver_(std::move(deliver)), thread_([this] { run(); }) {}
    smsc(const smsc &) = delete;
    smsc &operator=(const smsc &) = delete;

    ~smsc() { finish(); }

    // Takes a message, and returns the message_id of submit_sm_resp.
    std::string submit_sm(const std::string &destination) {
        const std::lock_guard<std::mutex> hold(lock_);
        char id[16];
        std::snprintf(id, sizeof id, "%010u", ++submitted_);
        const std::string final_state = state_of(destination);
        // The final one first, and twice.
        for (const std::string &state : {final_state, std::string("ENROUTE"), final_state}) {
            receipts_.push_back("id:" + std::string(id) +
                                " sub:001 dlvrd:001 submit date:2601011200 done date:2601011201 stat:" +
                                state + " err:000 text:");
        }
        changed_.notify_one();
        return id;
    }

    // Waits until all receipts are delivered.
    void finish() {
        {
            const std::lock_guard<std::mutex> hold(lock_);
            finished_ = true;
            changed_.notify_one();
        }
        if (thread_.joinable()) {
            thread_.join();
        }
    }

private:
    // What becomes of a message, by the last digit of the number.
    static std::string state_of(const std::string &destination) {
        switch (destination.empty() ? '0' : destination.back()) {
            case '1': return "UNDELIV";
            case '2': return "REJECTD";
            case '3': return "UNKNOWN";
            default: return "DELIVRD";
        }
    }

    void run() {
        std::unique_lock<std::mutex> hold(lock_);
        for (;;) {
            changed_.wait(hold, [this] { return finished_ || !receipts_.empty(); });
            if (receipts_.empty()) {
                return;
            }
            const std::string receipt = std::move(receipts_.front());
            receipts_.pop_front();
            hold.unlock();
            const std::uint32_t status = deliver_(receipt);
            hold.lock();
            // A real SMSC keeps it for days, whether the gateway is there or not.
            if (status != ESME_ROK && !finished_) {
                receipts_.push_back(receipt);
                changed_.wait_for(hold, std::chrono::seconds(1));
            }
        }
    }

    deliver_sm deliver_;
    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<std::string> receipts_;
    unsigned submitted_ = 0;
    bool finished_ = false;
    // Declared last, because it uses the others.
    std::thread thread_;
};

// The value of a field of a receipt, up to the next blank; empty if it is not there.
std::string field(const std::string &receipt, const std::string &name) {
    const std::size_t at = receipt.find(name + ":");
    if (at == std::string::npos) {
        return {};
    }
    const std::size_t begin = at + name.size() + 1;
    return receipt.substr(begin, receipt.find(' ', begin) - begin);
}

// Sends what the store has, again and again. Any number of programs may do so for one store.
class drainer {
public:
    explicit drainer(b24::provider &provider) : provider_(provider), thread_([this] { run(); }) {}
    drainer(const drainer &) = delete;
    drainer &operator=(const drainer &) = delete;

    ~drainer() { finish(); }

    void finish() {
        finished_ = true;
        if (thread_.joinable()) {
            thread_.join();
        }
    }

private:
    void run() {
        // Short, so that the thread soon sees that it is to end. A drain waits by itself for what is
        // to come.
        constexpr std::chrono::milliseconds budget(500);
        while (!finished_) {
            try {
                provider_.drain(budget);
            } catch (const b24::error &failure) {
                std::cerr << "drain: " << failure.what() << '\n';
                std::this_thread::sleep_for(std::chrono::seconds(1));
            }
        }
    }

    b24::provider &provider_;
    std::atomic<bool> finished_{false};
    std::thread thread_;
};

struct settings {
    b24::config config;
    std::string handler;
    std::string operator_name = "smsc";
};

settings read_options(int argc, char **argv) {
    settings read;
    if (const char *secret = std::getenv("B24_CLIENT_SECRET")) {
        read.config.set("client_secret", secret);
    }
    for (int i = 1; i < argc; i++) {
        const std::string argument = argv[i];
        const std::size_t equals = argument.find('=');
        const std::string name = argument.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
        if (name == "handler") {
            read.handler = value;
        } else if (name == "operator") {
            read.operator_name = value;
        } else {
            read.config.set(name, value);
        }
    }
    return read;
}

class gateway {
public:
    explicit gateway(const settings &from)
        : handler_(from.handler),
          operator_(from.operator_name),
          provider_(from.config),
          drainer_(provider_),
          smsc_([this](const std::string &receipt) { return take(receipt); }) {}

    // Handles a request, and returns the HTTP status to answer.
    int handle(const std::string &body) try {
        const b24::request request = provider_.receive("application/x-www-form-urlencoded", body);
        switch (request.kind()) {
            case b24::request_kind::install: register_sender(request.member_id()); break;
            case b24::request_kind::message: submit(request); break;
            case b24::request_kind::uninstall:
            case b24::request_kind::frame: break;
        }
        return 200;
    } catch (const b24::error &failure) {
        std::cerr << "request: " << failure.what() << '\n';
        switch (failure.code()) {
            case B24_INVALID_ARGUMENT: return 400;
            case B24_ACCESS_DENIED: return 403;
            default: return 503;
        }
    }

    // Waits for the receipts that are still to come, and sends what can be sent at present.
    b24::drained finish() {
        smsc_.finish();
        drainer_.finish();
        b24::drained left = provider_.drain(std::chrono::milliseconds(0));
        for (int i = 0; i < 20 && left.waiting > 0; i++) {
            left = provider_.drain(std::chrono::milliseconds(500));
        }
        return left;
    }

private:
    // Users of the portal can choose the gateway from now on.
    void register_sender(const std::string &member_id) {
        if (handler_.empty()) {
            return;
        }
        b24::client client = provider_.client(member_id);
        b24::sender sender("provider1");
        sender.handler(handler_).name("SMPP gateway");
        try {
            client.sender_add(sender);
        } catch (const b24::error &failure) {
            if (failure.portal_code() != "ERROR_SENDER_ALREADY_INSTALLED") {
                throw;
            }
            client.sender_update(sender);
        }
    }

    void submit(const b24::request &message) {
        const std::string reference = smsc_.submit_sm(message.get("message_to"));
        // The receipt may have come before this: it then waits for it in the store.
        provider_.track(reference, message.member_id(), message.get("code"),
                        message.get("message_id"), operator_);
    }

    // Takes a receipt. It is acknowledged to the SMSC when the store has it.
    std::uint32_t take(const std::string &receipt) {
        try {
            // The `done date` of a receipt has no seconds, and the SMSC's own time zone: the time of
            // arrival is better.
            provider_.report_reference(field(receipt, "id"), words_.status(field(receipt, "stat")),
                                       std::nullopt, operator_);
            return ESME_ROK;
        } catch (const b24::error &failure) {
            std::cerr << "receipt: " << failure.what() << '\n';
            // What cannot be understood now cannot be understood later either.
            return failure.code() == B24_INVALID_ARGUMENT ? ESME_ROK : ESME_RX_T_APPN;
        }
    }

    const std::string handler_;
    const std::string operator_;
    const b24::vocabulary words_ = b24::vocabulary::named("smpp");
    b24::provider provider_;
    drainer drainer_;
    // Declared last: its thread uses the others.
    smsc smsc_;
};

}  // namespace

int main(int argc, char **argv) try {
    gateway here(read_options(argc, argv));
    int status = EXIT_SUCCESS;
    for (std::string body; std::getline(std::cin, body);) {
        const int answer = here.handle(body);
        std::cout << "answer " << answer << '\n';
        if (answer != 200) {
            status = EXIT_FAILURE;
        }
    }
    const b24::drained left = here.finish();
    // A renewal may take longer than its call, and its answer has the only tokens that work.
    b24::renewals_wait(std::chrono::seconds(45));
    std::cout << left.waiting << " waiting, " << left.held << " held\n";
    return status;
} catch (const b24::error &failure) {
    std::cerr << failure.code_name() << ": " << failure.what() << '\n';
    return EXIT_FAILURE;
}
