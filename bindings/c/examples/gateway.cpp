// The last part of a gateway: reads delivery receipts and reports them as statuses to the portal.
//
//     B24_ACCESS_TOKEN=… ./gateway portal=portal.bitrix24.com code=provider1 < receipts.txt
//
// Each line of the input is a receipt as SMPP has it in short_message:
//
//     id:0123456789 sub:001 dlvrd:001 submit date:2601011200 done date:2601011201 stat:DELIVRD err:000
//
// One thread reads receipts into a queue, another sends all that have gathered there. So the batches
// grow with the number of receipts, without a timer.
#include <b24_messageservice.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace {

// The value of a field of a receipt, up to the next blank; empty if it is not there.
std::string field(const std::string &receipt, const std::string &name) {
    const std::size_t at = receipt.find(name + ":");
    if (at == std::string::npos) {
        return {};
    }
    const std::size_t begin = at + name.size() + 1;
    return receipt.substr(begin, receipt.find(' ', begin) - begin);
}

// The portal's status for SMPP's state of a message; empty if there is none.
std::string status_of(const std::string &state) {
    if (state == "DELIVRD") {
        return b24::status::delivered;
    }
    if (state == "ENROUTE" || state == "ACCEPTD") {
        return b24::status::sent;
    }
    if (state == "EXPIRED" || state == "UNDELIV") {
        return b24::status::undelivered;
    }
    if (state == "REJECTD" || state == "DELETED") {
        return b24::status::failed;
    }
    return {};
}

// Receipts on their way from the reader to the sender.
class queue {
public:
    void put(b24::update update) {
        const std::lock_guard<std::mutex> hold(lock_);
        waiting_.push_back(std::move(update));
        changed_.notify_one();
    }

    // Puts updates back to be sent again: at the front, so that they stay before newer ones.
    void put_back(const std::vector<b24::update> &updates) {
        const std::lock_guard<std::mutex> hold(lock_);
        waiting_.insert(waiting_.begin(), updates.begin(), updates.end());
    }

    void close() {
        const std::lock_guard<std::mutex> hold(lock_);
        closed_ = true;
        changed_.notify_one();
    }

    // Waits for receipts and takes all there are, up to a limit. Returns none at the end.
    std::vector<b24::update> take() {
        constexpr std::size_t limit = 500;
        std::unique_lock<std::mutex> hold(lock_);
        changed_.wait(hold, [this] { return closed_ || !waiting_.empty(); });
        const auto count = std::min(limit, waiting_.size());
        const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
        std::vector<b24::update> taken(std::make_move_iterator(waiting_.begin()),
                                       std::make_move_iterator(end));
        waiting_.erase(waiting_.begin(), end);
        return taken;
    }

private:
    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<b24::update> waiting_;
    bool closed_ = false;
};

struct totals {
    std::size_t stored = 0;
    std::size_t refused = 0;
};

// Sends until the queue is closed and empty. The library has already retried within timeout_ms. If a
// portal is down for longer, this function waits for it, a few times.
totals send(b24::client &client, queue &receipts) {
    constexpr int patience = 5;
    totals total;
    int failures = 0;
    for (auto updates = receipts.take(); !updates.empty(); updates = receipts.take()) {
        const auto outcomes = client.message_status_update_batch(updates);
        std::vector<b24::update> again;
        std::chrono::milliseconds pause(0);
        for (std::size_t i = 0; i < outcomes.size(); i++) {
            if (!outcomes[i]) {
                total.stored++;
            } else if (outcomes[i]->is_retryable() && failures < patience) {
                again.push_back(updates[i]);
                pause = std::max(pause, outcomes[i]->retry_after().value_or(std::chrono::seconds(1)));
            } else {
                total.refused++;
                std::cerr << updates[i].message_id << ": " << outcomes[i]->what() << '\n';
            }
        }
        failures = again.empty() ? 0 : failures + 1;
        receipts.put_back(again);
        std::this_thread::sleep_for(pause);
    }
    return total;
}

void read(std::istream &input, const std::string &code, queue &receipts) {
    std::string line;
    while (std::getline(input, line)) {
        const std::string id = field(line, "id");
        const std::string status = status_of(field(line, "stat"));
        if (id.empty() || status.empty()) {
            std::cerr << "passed over: " << line << '\n';
        } else {
            // A real gateway looks up which message of the portal its network's id stands for.
            receipts.put({code, id, status});
        }
    }
    receipts.close();
}

}  // namespace

int main(int argc, char **argv) try {
    b24::config config;
    std::string code;
    if (const char *token = std::getenv("B24_ACCESS_TOKEN")) {
        config.set("access_token", token);
    }
    for (int i = 1; i < argc; i++) {
        const std::string argument = argv[i];
        const std::size_t equals = argument.find('=');
        const std::string name = argument.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : argument.substr(equals + 1);
        if (name == "code") {
            code = value;
        } else {
            config.set(name, value);
        }
    }
    b24::client client(config);

    queue receipts;
    totals total;
    std::thread sender([&] { total = send(client, receipts); });
    read(std::cin, code, receipts);
    sender.join();
    // A renewal may take longer than its call, and its answer has the only tokens that work.
    b24::renewals_wait(std::chrono::seconds(45));
    std::cout << total.stored << " stored, " << total.refused << " not\n";
    return total.refused == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
} catch (const b24::error &failure) {
    std::cerr << failure.code_name() << ": " << failure.what() << '\n';
    return EXIT_FAILURE;
}
