<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\InvalidConfig;
use B24\MessageService\Exception\MessageServiceException;

/**
 * Does the whole job of a provider of messages, for any number of portals: keeps their installations, reads what
 * they post, and keeps receipts until the portals have them.
 *
 * Everything is in the store, so that each web request can make a provider of its own, and any number of
 * processes may use one store at once. What `report` and its like have stored is sent by `drain`, which a
 * program of its own calls, from cron or in a loop.
 */
final class Provider
{
    /** How many refused receipts are read at a time. */
    private const PAGE = 1000;

    private readonly \FFI $ffi;
    private ?\FFI\CData $provider = null;

    /**
     * Opens the store: checks it, and makes or updates it. Options are given in the array or by name,
     * `new Provider(store: 'sqlite:/var/lib/sms/b24.db', client_id: $id, client_secret: $secret)`.
     *
     * @param array{
     *     client_id?: string|\Stringable|null,
     *     client_secret?: string|\Stringable|null,
     *     oauth_url?: string|\Stringable|null,
     *     timeout_ms?: int|string|null,
     *     connect_timeout_ms?: int|string|null,
     *     max_retries?: int|string|null,
     *     rate_limit?: string|\Stringable|null,
     *     ca_file?: string|\Stringable|null,
     *     proxy?: string|\Stringable|null,
     *     resolve?: string|list<string>|null,
     *     redirect_hosts?: string|list<string>|null,
     *     user_agent?: string|\Stringable|null,
     *     allow_http?: bool|string|null,
     *     store?: string|\Stringable|null,
     *     durability?: string|\Stringable|null,
     *     store_max_mb?: int|string|null,
     *     store_key_file?: string|\Stringable|null,
     *     workers?: int|string|null,
     * } $options by the names of docs/options.md; null leaves an option out. Unless `workers` is given, it is 0:
     *     `drain` starts no threads
     *
     * @throws InvalidConfig naming the option and what it takes
     * @throws Exception\StorageError if the store fails
     * @throws Exception\LibraryUnavailable if FFI or the shared library is not available
     */
    public function __construct(
        #[\SensitiveParameter] array $options = [],
        // make generate writes: options by name
        #[\SensitiveParameter] string|\Stringable|null $client_id = null,
        #[\SensitiveParameter] string|\Stringable|null $client_secret = null,
        #[\SensitiveParameter] string|\Stringable|null $oauth_url = null,
        #[\SensitiveParameter] int|string|null $timeout_ms = null,
        #[\SensitiveParameter] int|string|null $connect_timeout_ms = null,
        #[\SensitiveParameter] int|string|null $max_retries = null,
        #[\SensitiveParameter] string|\Stringable|null $rate_limit = null,
        #[\SensitiveParameter] string|\Stringable|null $ca_file = null,
        #[\SensitiveParameter] string|\Stringable|null $proxy = null,
        #[\SensitiveParameter] string|array|null $resolve = null,
        #[\SensitiveParameter] string|array|null $redirect_hosts = null,
        #[\SensitiveParameter] string|\Stringable|null $user_agent = null,
        #[\SensitiveParameter] bool|string|null $allow_http = null,
        #[\SensitiveParameter] string|\Stringable|null $store = null,
        #[\SensitiveParameter] string|\Stringable|null $durability = null,
        #[\SensitiveParameter] int|string|null $store_max_mb = null,
        #[\SensitiveParameter] string|\Stringable|null $store_key_file = null,
        #[\SensitiveParameter] int|string|null $workers = null,
        // end: options by name
    ) {
        $options = Options::merged($options, [
            // make generate writes: options that were named
            'client_id' => $client_id,
            'client_secret' => $client_secret,
            'oauth_url' => $oauth_url,
            'timeout_ms' => $timeout_ms,
            'connect_timeout_ms' => $connect_timeout_ms,
            'max_retries' => $max_retries,
            'rate_limit' => $rate_limit,
            'ca_file' => $ca_file,
            'proxy' => $proxy,
            'resolve' => $resolve,
            'redirect_hosts' => $redirect_hosts,
            'user_agent' => $user_agent,
            'allow_http' => $allow_http,
            'store' => $store,
            'durability' => $durability,
            'store_max_mb' => $store_max_mb,
            'store_key_file' => $store_key_file,
            'workers' => $workers,
            // end: options that were named
        ]);
        $this->ffi = Loader::ffi();
        Renewals::waitAtShutdown();
        $options['workers'] ??= 0;
        $this->provider = Options::with($this->ffi, $options, function ($config): \FFI\CData {
            $provider = $this->ffi->new('b24_provider *');
            $error = Failure::place($this->ffi);
            Failure::check($this->ffi->b24_provider_open($config, \FFI::addr($provider), \FFI::addr($error)), $error);
            return $provider;
        });
    }

    /**
     * The same provider, whose calls end after so many seconds instead of after `timeout_ms`: at most 7 days. In
     * a drain it limits the requests, not the whole. Making one costs little, and closing it does not close this.
     *
     * @throws InvalidArgument if `$seconds` is less than a millisecond, or too large
     */
    public function withTimeout(float $seconds): self
    {
        $milliseconds = Argument::timeout($seconds);
        $limited = $this->ffi->new('b24_provider *');
        $this->call(
            fn ($provider, $error): int
                => $this->ffi->b24_provider_limited($provider, $milliseconds, null, \FFI::addr($limited), $error)
        );
        // The constructor opens one from options.
        $made = (new \ReflectionClass(self::class))->newInstanceWithoutConstructor();
        $made->ffi = $this->ffi;
        $made->provider = $limited;
        return $made;
    }

    public function __destruct()
    {
        $this->close();
        Renewals::destroyed();
    }

    /**
     * Frees what the provider holds in this process. The store keeps everything. A provider that is destroyed is
     * closed as well, and closing it twice is harmless. Clients that it has made can be used further.
     */
    public function close(): void
    {
        if ($this->provider !== null) {
            Signals::held(fn () => $this->ffi->b24_provider_close($this->provider));
            $this->provider = null;
        }
    }

    /**
     * Ends drains and calls that are under way, with `Cancelled`. Later ones are not affected, nor are clients.
     *
     * PHP does nothing else during a call, and runs signal handlers after it. So this is for programs with
     * threads. To be able to end a drain early, drain for a short time again and again.
     */
    public function cancel(): void
    {
        $provider = $this->provider();
        Signals::held(fn () => $this->ffi->b24_provider_cancel($provider));
    }

    /**
     * Reads what a portal has posted, and checks that it comes from the portal: by its `application_token`.
     * An installation (`ONAPPINSTALL`) is stored, and an uninstallation carried out, before this returns.
     *
     * Sends no answer: the caller answers the web request. For an installation the authorization server is
     * asked, for `timeout_ms` at most.
     *
     * @param string $contentType the header `Content-Type`, `$_SERVER['CONTENT_TYPE']`
     * @param string $body as it was received, `file_get_contents('php://input')`; 1 MiB at most
     *
     * @throws InvalidArgument if it cannot be read: answer 400
     * @throws Exception\AccessDenied if it is not proven to be the portal's: answer 403
     * @throws MessageServiceException if an installation could not be confirmed or stored: answer 503 if it is
     *     retryable
     */
    public function receive(string $contentType, #[\SensitiveParameter] string $body): Request
    {
        $contentType = Argument::text('content type', $contentType);
        $request = $this->ffi->new('b24_request *');
        $length = strlen($body);
        $this->call(fn ($provider, $error): int => $this->ffi->b24_provider_receive(
            $provider,
            $contentType,
            $body,
            $length,
            \FFI::addr($request),
            $error
        ));
        return Signals::held(fn (): Request => new Request($this->ffi, $request));
    }

    /**
     * Installs the application on a portal, from tokens that came in another way than in a request: the
     * answer of the authorization server to a code, or kept settings. Believed only if the authorization server
     * confirms it.
     *
     * @param string|array<string, mixed> $auth the answer as JSON or as an array: `access_token`,
     *     `refresh_token`, `member_id`, `client_endpoint` and so on
     * @param string $applicationToken what the portal's requests are checked with; empty if it is not known
     *
     * @throws Exception\AccessDenied if the authorization server does not confirm it
     * @throws MessageServiceException see the classes in the namespace Exception
     */
    public function install(
        #[\SensitiveParameter] string|array $auth,
        #[\SensitiveParameter] string $applicationToken = ''
    ): void {
        $json = is_array($auth) ? self::json($auth) : Argument::secret('auth', $auth);
        $applicationToken = Argument::secret('application token', $applicationToken);
        $this->call(
            fn ($provider, $error): int => $this->ffi->b24_provider_install($provider, $json, $applicationToken, $error)
        );
    }

    /**
     * Installs the application with the tokens of a page in a frame. Call this on the page of the installation
     * wizard and nowhere else: a later opening brings the tokens of any user.
     *
     * @param Request $frame of the kind `RequestKind::Frame`
     *
     * @throws MessageServiceException as install
     */
    public function installRequest(Request $frame): void
    {
        $this->call(
            fn ($provider, $error): int
                => $this->ffi->b24_provider_install_request($provider, $frame->handle(), $error)
        );
    }

    /**
     * Moves the installations of a `state_dir` to the store. Clients that still use it fail then, and say why.
     *
     * @return int how many
     *
     * @throws MessageServiceException see the classes in the namespace Exception
     */
    public function importStateDir(string $path): int
    {
        $path = Argument::text('path', $path);
        $imported = $this->ffi->new('int64_t');
        $this->call(fn ($provider, $error): int => $this->ffi->b24_provider_import_state_dir(
            $provider,
            $path,
            \FFI::addr($imported),
            $error
        ));
        return $imported->cdata;
    }

    /**
     * A client of a portal, which takes its tokens from the store: for senders, and for calls that cannot wait.
     *
     * @param string $memberId the portal's permanent id
     *
     * @throws InvalidArgument if the application is not installed there
     * @throws MessageServiceException see the classes in the namespace Exception
     */
    public function client(string $memberId): Client
    {
        $memberId = Argument::text('member id', $memberId);
        $client = $this->ffi->new('b24_client *');
        $this->call(
            fn ($provider, $error): int
                => $this->ffi->b24_provider_client($provider, $memberId, \FFI::addr($client), $error)
        );
        return Client::ofProvider($this->ffi, $client, $memberId);
    }

    /**
     * Notes which message an operator's reference stands for. Several references may stand for one message,
     * which was sent in parts; their statuses are then combined. Doing it again is harmless.
     *
     * @param string $reference the operator's own id, 1 to 255 bytes
     * @param string $memberId the portal's permanent id
     * @param string $operator whose reference it is, at most 64 bytes; needed where operators may give the same
     *
     * @throws InvalidArgument if an argument is not valid, or the reference has stood for another message for less
     *     than 72 hours
     * @throws Exception\StorageError if it could not be stored
     */
    public function track(
        string $reference,
        string $memberId,
        string $code,
        string|int $messageId,
        string $operator = ''
    ): void {
        $operator = Argument::text('operator', $operator);
        $reference = Argument::text('reference', $reference);
        $memberId = Argument::text('member id', $memberId);
        $code = Argument::text('code', $code);
        $messageId = Argument::text('message id', $messageId);
        $this->call(fn ($provider, $error): int => $this->ffi->b24_provider_track_of(
            $provider,
            $operator,
            $reference,
            $memberId,
            $code,
            $messageId,
            $error
        ));
    }

    /**
     * Stores the status of a message, to be sent by a drain. When this returns, the status is not lost any more.
     *
     * A status of a lower rank never replaces one of a higher rank: `queued`, then `sent`, then the final ones.
     * Within a rank the later `$at` wins, then what was reported later.
     *
     * @param string $memberId the portal's permanent id
     * @param string $code the provider code
     * @param string|int $messageId what the portal sent to the provider's handler
     * @param Status|string $status a status, or its name in any case
     * @param \DateTimeInterface|null $at when the status came about; null for now
     *
     * @throws InvalidArgument if an argument is not valid
     * @throws Exception\StorageError if it could not be stored: tell the operator to come back later
     */
    public function report(
        string $memberId,
        string $code,
        string|int $messageId,
        Status|string $status,
        ?\DateTimeInterface $at = null
    ): void {
        $memberId = Argument::text('member id', $memberId);
        $code = Argument::text('code', $code);
        $messageId = Argument::text('message id', $messageId);
        $status = Argument::text('status', $status);
        $atMs = Argument::moment($at);
        $this->call(fn ($provider, $error): int => $this->ffi->b24_provider_report(
            $provider,
            $memberId,
            $code,
            $messageId,
            $status,
            $atMs,
            $error
        ));
    }

    /**
     * Stores the statuses of any number of messages of one portal: 10,000 in one write to the disk. Each is what
     * report does.
     *
     * @param string $memberId the portal's permanent id
     * @param iterable<array{string, string|int, Status|string}> $updates code, message id and status
     *
     * @return list<?MessageServiceException> the outcome of each update, in their order; null if it was stored
     */
    public function reportBatch(string $memberId, iterable $updates): array
    {
        $memberId = Argument::text('member id', $memberId);
        $batch = new Batch($this->ffi);
        foreach ($updates as $update) {
            $batch->add($update);
        }
        return $this->stored($memberId, $batch);
    }

    /**
     * Stores the statuses of any number of messages of any portals, those of a portal together.
     *
     * A receipt with a time is stored by itself, after those of its portal that come before it. Where there
     * are many, leave the time out.
     *
     * @param iterable<array{0: string, 1: string, 2: string|int, 3: Status|string, 4?: ?\DateTimeInterface}>
     *     $receipts member id, code, message id and status, and when the status came about
     *
     * @return list<?MessageServiceException> the outcome of each receipt, in their order; null if it was stored
     */
    public function reportMany(iterable $receipts): array
    {
        return Handover::after(fn (): array => $this->reportEach($receipts), held: false);
    }

    /**
     * As reportMany, with an outcome that has the receipt and its key: for receipts that come from a queue, and are
     * not kept otherwise.
     *
     * @template Key
     * @template Receipt of array{0: string, 1: string, 2: string|int, 3: Status|string, 4?: ?\DateTimeInterface}
     * @param iterable<Key, Receipt> $receipts as for reportMany
     *
     * @return list<Outcome<Key, Receipt>> in their order
     */
    public function reportOutcomes(iterable $receipts): array
    {
        return Outcome::each($receipts, $this->reportMany(...));
    }

    /**
     * Stores the status of the message that an operator's reference stands for. If `track` has not been called
     * yet, the status waits for that, for an hour.
     *
     * @param string $reference as given to track
     * @param Status|string $status a status, or its name in any case
     * @param \DateTimeInterface|null $at when the status came about; null for now
     * @param string $operator as given to track
     *
     * @throws InvalidArgument if an argument is not valid
     * @throws Exception\StorageError if it could not be stored: tell the operator to come back later
     */
    public function reportReference(
        string $reference,
        Status|string $status,
        ?\DateTimeInterface $at = null,
        string $operator = ''
    ): void {
        $operator = Argument::text('operator', $operator);
        $reference = Argument::text('reference', $reference);
        $status = Argument::text('status', $status);
        $atMs = Argument::moment($at);
        $this->call(fn ($provider, $error): int => $this->ffi->b24_provider_report_reference_of(
            $provider,
            $operator,
            $reference,
            $status,
            $atMs,
            $error
        ));
    }

    /**
     * Sends what is stored to the portals: what is due, and what becomes due meanwhile, of all processes that use
     * the store. Any number of processes may drain it at once.
     *
     * Takes all of the time. No request is begun afterwards; those under way are finished, which takes `timeout_ms`
     * more at most. A portal that fails is no failure of the drain, and delays no other: its receipts wait, are
     * held or are refused.
     *
     * @param float $seconds with 0 nothing is sent, only counted
     *
     * @throws Exception\StorageError if the store fails
     * @throws InvalidArgument if `$seconds` is negative or too large
     */
    public function drain(float $seconds): Drained
    {
        $milliseconds = Argument::milliseconds($seconds);
        $drained = $this->ffi->new('b24_drained *');
        $this->call(
            fn ($provider, $error): int
                => $this->ffi->b24_provider_drain($provider, $milliseconds, \FFI::addr($drained), $error)
        );
        return Signals::held(function () use ($drained): Drained {
            try {
                $nextDue = $this->ffi->b24_drained_next_due_ms($drained);
                return new Drained(
                    $this->ffi->b24_drained_sent($drained),
                    $this->ffi->b24_drained_refused($drained),
                    $this->ffi->b24_drained_held($drained),
                    $this->ffi->b24_drained_waiting($drained),
                    $nextDue < 0 ? null : $nextDue / 1000,
                );
            } finally {
                $this->ffi->b24_drained_free($drained);
            }
        });
    }

    /**
     * What the store has about each portal.
     *
     * @return list<PortalState>
     *
     * @throws Exception\StorageError if the store fails
     */
    public function inspect(): array
    {
        $provider = $this->provider();
        return array_map(
            PortalState::fromRow(...),
            $this->rows(
                PortalState::NAMES,
                fn ($list, $error): int => $this->ffi->b24_provider_inspect($provider, $list, $error)
            )
        );
    }

    /**
     * The receipts that were given up, in a fixed order, as many as there are.
     *
     * They are read while they are used, some at a time. What fails is thrown then.
     *
     * @param string $after the `cursor` of one: those after it
     *
     * @return \Generator<int, RefusedReceipt>
     *
     * @throws Exception\StorageError if the store fails
     */
    public function refused(string $after = ''): \Generator
    {
        do {
            $page = $this->refusedPage($after);
            foreach ($page as $receipt) {
                $after = $receipt->cursor;
                yield $receipt;
            }
        } while (count($page) === self::PAGE);
    }

    /**
     * Has the receipts of a portal sent again that is held, after what was wrong there has been corrected, or of
     * one that waits after a failure.
     *
     * @param string $memberId the portal's permanent id
     *
     * @throws InvalidArgument if the store knows no such portal
     * @throws Exception\StorageError if the store fails
     */
    public function resume(string $memberId): void
    {
        $memberId = Argument::text('member id', $memberId);
        $this->call(fn ($provider, $error): int => $this->ffi->b24_provider_resume($provider, $memberId, $error));
    }

    /**
     * Removes refused receipts and references from the store that are older. Nothing that waits is removed, and
     * what has happened to a message is known for 72 hours in any case.
     *
     * @throws InvalidArgument if `$keepSeconds` is negative
     * @throws Exception\StorageError if the store fails
     */
    public function prune(int $keepSeconds): void
    {
        $this->call(fn ($provider, $error): int => $this->ffi->b24_provider_prune($provider, $keepSeconds, $error));
    }

    /**
     * @return array<string, bool>
     */
    public function __debugInfo(): array
    {
        return ['open' => $this->provider !== null];
    }

    public function __serialize(): array
    {
        throw new \LogicException(self::class . ' holds a store: make one where you need it');
    }

    private function __clone()
    {
    }

    /**
     * When PHP ends, it destroys objects in the order in which they were made, even if others still use them.
     */
    private function provider(): \FFI\CData
    {
        return $this->provider ?? throw new InvalidArgument(
            'the provider is closed, or PHP is ending and has destroyed it already: make calls earlier'
        );
    }

    /**
     * @param \Closure(\FFI\CData, \FFI\CData): int $call takes the provider and the place for its error. A dump
     *     of it shows the values that it uses
     */
    private function call(#[\SensitiveParameter] \Closure $call): void
    {
        $provider = $this->provider();
        Handover::after(function () use ($call, $provider): void {
            $error = Failure::place($this->ffi);
            Failure::check($call($provider, \FFI::addr($error)), $error);
        });
    }

    /**
     * The rows of the list that a call returns.
     *
     * @param list<string> $names of their values
     * @param \Closure(\FFI\CData, \FFI\CData): int $call takes the places for its list and its error
     *
     * @return list<array<string, string>>
     */
    private function rows(array $names, \Closure $call): array
    {
        return Handover::after(fn (): array => Rows::of($this->ffi, $names, $call));
    }

    /**
     * @param iterable<mixed> $receipts
     *
     * @return list<?MessageServiceException>
     */
    private function reportEach(iterable $receipts): array
    {
        $outcomes = [];
        /** @var array<array{Batch, list<int>}> $waiting the batch of each portal, and whose outcomes it has */
        $waiting = [];
        $store = function (string $memberId) use (&$outcomes, &$waiting): void {
            [$batch, $places] = $waiting[$memberId];
            unset($waiting[$memberId]);
            foreach ($this->stored($memberId, $batch) as $number => $outcome) {
                $outcomes[$places[$number]] = $outcome;
            }
        };
        foreach ($receipts as $receipt) {
            $place = count($outcomes);
            $outcomes[] = null;
            try {
                [$memberId, $update, $at] = self::receipt($receipt);
                if ($at === null) {
                    $waiting[$memberId] ??= [new Batch($this->ffi), []];
                    $waiting[$memberId][0]->add($update);
                    $waiting[$memberId][1][] = $place;
                } else {
                    isset($waiting[$memberId]) && $store($memberId);
                    $this->report($memberId, ...[...$update, $at]);
                }
            } catch (MessageServiceException $fault) {
                $outcomes[$place] = $fault;
            }
        }
        foreach (array_keys($waiting) as $memberId) {
            $store((string) $memberId);
        }
        return $outcomes;
    }

    /**
     * @return list<?MessageServiceException>
     */
    private function stored(string $memberId, Batch $batch): array
    {
        $provider = $this->provider();
        return Handover::after(fn (): array => $batch->outcomes(
            fn ($updates): int => $this->ffi->b24_provider_report_batch($provider, $memberId, $updates, null)
        ));
    }

    /**
     * @return list<RefusedReceipt>
     */
    private function refusedPage(string $after): array
    {
        $provider = $this->provider();
        $after = Argument::text('after', $after);
        return array_map(
            RefusedReceipt::fromRow(...),
            $this->rows(
                RefusedReceipt::NAMES,
                fn ($list, $error): int
                    => $this->ffi->b24_provider_refused($provider, $after, self::PAGE, $list, $error)
            )
        );
    }

    /**
     * @param array<mixed> $auth
     */
    private static function json(#[\SensitiveParameter] array $auth): string
    {
        try {
            return json_encode($auth, JSON_THROW_ON_ERROR);
        } catch (\JsonException $fault) {
            throw new InvalidArgument("auth cannot be written as JSON: {$fault->getMessage()}");
        }
    }

    /**
     * The portal, the update and the time of a receipt.
     *
     * @return array{string, list<mixed>, ?\DateTimeInterface}
     */
    private static function receipt(mixed $receipt): array
    {
        $shape = 'a receipt is an array of member id, code, message id and status, and a time if it is known';
        if (!is_array($receipt)) {
            throw new InvalidArgument("$shape, not " . get_debug_type($receipt));
        }
        $receipt = array_values($receipt);
        if (count($receipt) < 4 || count($receipt) > 5) {
            throw new InvalidArgument("$shape; this one has " . count($receipt) . ' values');
        }
        [$memberId, $code, $messageId, $status] = $receipt;
        $at = $receipt[4] ?? null;
        if (!is_string($memberId)) {
            throw new InvalidArgument(
                'the member id of a receipt is a ' . get_debug_type($memberId) . '; it takes text'
            );
        }
        if ($at !== null && !$at instanceof \DateTimeInterface) {
            throw new InvalidArgument(
                'the time of a receipt is a ' . get_debug_type($at) . '; it takes a DateTimeInterface'
            );
        }
        return [Argument::text('member id', $memberId), [$code, $messageId, $status], $at];
    }
}
