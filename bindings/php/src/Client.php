<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\InvalidConfig;
use B24\MessageService\Exception\MessageServiceException;

/**
 * Makes calls to one portal.
 *
 * This is the shared client, which the other languages have beside one of their own (`b24_client_shared` in C): those
 * with an equal configuration share one client of the process, so that an FPM worker keeps its connection and the
 * renewed tokens from one web request to the next. So making one costs little, and two that are made with the same
 * options have the same tokens. Calls block until the portal has answered or `timeout_ms` has passed.
 */
final class Client
{
    private readonly \FFI $ffi;
    private readonly string $portal;
    private ?\FFI\CData $client = null;
    private ?Renewed $renewed = null;
    /** Of the access token that it was made with. */
    private string $given = '';

    /**
     * Options are given in the array or by name, `new Client($portal, access_token: $token, timeout_ms: 5000)`.
     *
     * @param string $portal `portal.bitrix24.com`, an origin, or a `client_endpoint` URL
     * @param array{
     *     access_token?: string|\Stringable|null,
     *     refresh_token?: string|\Stringable|null,
     *     client_id?: string|\Stringable|null,
     *     client_secret?: string|\Stringable|null,
     *     oauth_url?: string|\Stringable|null,
     *     timeout_ms?: int|string|null,
     *     connect_timeout_ms?: int|string|null,
     *     max_retries?: int|string|null,
     *     rate_limit?: string|\Stringable|null,
     *     state_dir?: string|\Stringable|null,
     *     ca_file?: string|\Stringable|null,
     *     proxy?: string|\Stringable|null,
     *     resolve?: string|list<string>|null,
     *     redirect_hosts?: string|list<string>|null,
     *     user_agent?: string|\Stringable|null,
     *     allow_http?: bool|string|null,
     * } $options by the names of docs/options.md; null leaves an option out
     *
     * @throws InvalidConfig naming the option and what it takes
     * @throws Exception\LibraryUnavailable if FFI or the shared library is not available
     */
    public function __construct(
        #[\SensitiveParameter] string $portal,
        #[\SensitiveParameter] array $options = [],
        // make generate writes: options by name
        #[\SensitiveParameter] string|\Stringable|null $access_token = null,
        #[\SensitiveParameter] string|\Stringable|null $refresh_token = null,
        #[\SensitiveParameter] string|\Stringable|null $client_id = null,
        #[\SensitiveParameter] string|\Stringable|null $client_secret = null,
        #[\SensitiveParameter] string|\Stringable|null $oauth_url = null,
        #[\SensitiveParameter] int|string|null $timeout_ms = null,
        #[\SensitiveParameter] int|string|null $connect_timeout_ms = null,
        #[\SensitiveParameter] int|string|null $max_retries = null,
        #[\SensitiveParameter] string|\Stringable|null $rate_limit = null,
        #[\SensitiveParameter] string|\Stringable|null $state_dir = null,
        #[\SensitiveParameter] string|\Stringable|null $ca_file = null,
        #[\SensitiveParameter] string|\Stringable|null $proxy = null,
        #[\SensitiveParameter] string|array|null $resolve = null,
        #[\SensitiveParameter] string|array|null $redirect_hosts = null,
        #[\SensitiveParameter] string|\Stringable|null $user_agent = null,
        #[\SensitiveParameter] bool|string|null $allow_http = null,
        // end: options by name
    ) {
        $options = Options::merged($options, [
            // make generate writes: options that were named
            'access_token' => $access_token,
            'refresh_token' => $refresh_token,
            'client_id' => $client_id,
            'client_secret' => $client_secret,
            'oauth_url' => $oauth_url,
            'timeout_ms' => $timeout_ms,
            'connect_timeout_ms' => $connect_timeout_ms,
            'max_retries' => $max_retries,
            'rate_limit' => $rate_limit,
            'state_dir' => $state_dir,
            'ca_file' => $ca_file,
            'proxy' => $proxy,
            'resolve' => $resolve,
            'redirect_hosts' => $redirect_hosts,
            'user_agent' => $user_agent,
            'allow_http' => $allow_http,
            // end: options that were named
        ]);
        $this->ffi = Loader::ffi();
        Renewals::waitAtShutdown();
        $this->client = Options::with($this->ffi, ['portal' => $portal] + $options, function ($config): \FFI\CData {
            $client = $this->ffi->new('b24_client *');
            $error = Failure::place($this->ffi);
            Failure::check($this->ffi->b24_client_shared($config, \FFI::addr($client), \FFI::addr($error)), $error);
            return $client;
        });
        // Only now: this object is in the trace of what is thrown above, and the portal may be an address with a secret.
        $this->portal = $portal;
        $token = $options['access_token'] ?? '';
        $this->given = Renewed::fingerprint(is_array($token) ? implode(',', $token) : (string) $token);
    }

    /**
     * The client of a portal that a provider has made.
     *
     * @internal
     */
    public static function ofProvider(\FFI $ffi, \FFI\CData $client, string $memberId): self
    {
        // The constructor makes one from options.
        $made = (new \ReflectionClass(self::class))->newInstanceWithoutConstructor();
        $made->portal = $memberId;
        $made->ffi = $ffi;
        $made->client = $client;
        return $made;
    }

    /**
     * The same client, whose calls end after so many seconds instead of after `timeout_ms`: at most 7 days.
     * Making one costs little: for one call, `$client->withTimeout(2.5)->messageStatusUpdate(…)`.
     *
     * @throws InvalidArgument if `$seconds` is less than a millisecond, or too large
     */
    public function withTimeout(float $seconds): self
    {
        $milliseconds = Argument::timeout($seconds);
        $limited = $this->limited($milliseconds);
        $made = self::ofProvider($this->ffi, $limited, $this->portal);
        [$made->renewed, $made->given] = [$this->renewed, $this->given];
        return $made;
    }

    /**
     * Sets who is given the tokens when they were renewed, to store them. It replaces one that was set before.
     *
     * After each call in which the client's tokens have become others than those that it was made with or has handed
     * over last, the callable is called with the present ones, before the call returns or throws. So it is also given
     * tokens that another process or an earlier web request has renewed, and may be given the same ones more than once.
     * If it throws, see `Exception\HandlerFailed`; it is then called again after the next call.
     *
     * A renewal may take longer than the call that started it. Its tokens are handed over after the next call, by
     * `renewalsWait`, or on the command line when the program ends.
     *
     * @param callable(Tokens): mixed $handler may make calls
     */
    public function onRenewal(callable $handler): void
    {
        $this->renewed = new Renewed($this->ffi, $this->limited(0), $handler(...), $this->given);
    }

    public function __destruct()
    {
        $this->renewed?->clientIsGone();
        if ($this->client !== null) {
            Signals::held(fn () => $this->ffi->b24_client_free($this->client));
            $this->client = null;
        }
        Renewals::destroyed();
    }

    /**
     * Reports the status of one message, and returns when the portal has stored it. Reporting it again is
     * harmless.
     *
     * Calls for one message are made one after the other, in the order in which they were begun, across
     * all clients of the process for one portal. The last status stands. An attempt whose outcome is unknown
     * may still be executed by the portal for up to 60 s.
     *
     * @param string $code the provider code, `[A-Za-z0-9._-]+`
     * @param string|int $messageId what the portal sent to the provider's handler
     * @param Status|string $status a status, or its name in any case
     *
     * @throws MessageServiceException see the classes in the namespace Exception
     */
    public function messageStatusUpdate(string $code, string|int $messageId, Status|string $status): void
    {
        $code = Argument::text('code', $code);
        $messageId = Argument::text('message id', $messageId);
        $status = Argument::text('status', $status);
        $this->call(
            fn ($client, $error): int
                => $this->ffi->b24_message_status_update($client, $code, $messageId, $status, $error)
        );
    }

    /**
     * Reports the status of any number of messages, 50 in a request. If a message occurs more than once,
     * only its last status is sent.
     *
     * The deadline counts from when the updates have been read. An update takes its place in the order of
     * the calls for its message when its slice is queued, at most 10,000 updates at a time.
     *
     * @param iterable<array{string, string|int, Status|string}> $updates code, message id and status
     *
     * @return list<?MessageServiceException> the outcome of each update, in their order; null if it was
     *     applied. Updates that failed for the same reason may share one object
     */
    public function messageStatusUpdateBatch(iterable $updates): array
    {
        $batch = new Batch($this->ffi);
        foreach ($updates as $update) {
            $batch->add($update);
        }
        $client = $this->client();
        return Handover::after(
            fn (): array => $batch->outcomes(
                fn ($updates): int => $this->ffi->b24_message_status_update_batch($client, $updates, null)
            ),
            $this->tokensTo()
        );
    }

    /**
     * As messageStatusUpdateBatch, with an outcome that has the receipt and its key: for receipts that come from a
     * queue, and are not kept otherwise.
     *
     * @template Key
     * @template Receipt of array{string, string|int, Status|string}
     * @param iterable<Key, Receipt> $updates code, message id and status
     *
     * @return list<Outcome<Key, Receipt>> in their order
     */
    public function messageStatusUpdateOutcomes(iterable $updates): array
    {
        return Outcome::each($updates, $this->messageStatusUpdateBatch(...));
    }

    /**
     * Asks for the status of one message.
     *
     * @param int $messageId the portal's own number of the message, which is not the id that the portal sent
     *     to the provider's handler
     *
     * @return string the status's English name; empty if the message has none
     *
     * @throws MessageServiceException see the classes in the namespace Exception
     */
    public function messageStatusGet(int $messageId): string
    {
        if ($messageId < 0) {
            throw new InvalidArgument("message id $messageId is negative: give the portal's own number of the message");
        }
        $client = $this->client();
        return $this->listed(
            'status',
            fn ($list, $error): int => $this->ffi->b24_message_status_get($client, $messageId, $list, $error)
        )[0];
    }

    /**
     * Registers an SMS provider with the portal, so that users can choose it.
     *
     * The portal refuses a code that is registered. So the list of senders is asked for first, and again if the
     * answer is lost, to find out whether the sender was added. Therefore a PortalError with the portal code
     * `ERROR_SENDER_ALREADY_INSTALLED` means that the code was registered before.
     *
     * @param string $code the provider code, `[A-Za-z0-9._-]+`
     * @param string $handler the http or https address that the portal posts messages to
     * @param string|array<string, string> $name the name that users see: one text, or one for each language,
     *     `['en' => '…', 'de' => '…']`
     * @param string|array<string, string>|null $description the description that users see, in the same form
     *
     * @throws MessageServiceException see the classes in the namespace Exception
     */
    public function senderAdd(
        string $code,
        string $handler,
        string|array $name,
        string|array|null $description = null,
        string $type = 'SMS'
    ): void {
        $client = $this->client();
        $parts = ['handler' => $handler, 'name' => $name, 'description' => $description, 'type' => $type];
        $this->withSender(
            $code,
            $parts,
            fn ($sender, $error): int => $this->ffi->b24_sender_add($client, $sender, $error)
        );
    }

    /**
     * Changes the handler, name or description of a registered sender. What is null stays as it is. Calling
     * this twice is harmless.
     *
     * @param string|array<string, string>|null $name as for senderAdd
     * @param string|array<string, string>|null $description as for senderAdd
     *
     * @throws MessageServiceException a PortalError with the portal code `ERROR_SENDER_NOT_FOUND` if the code is
     *     not registered
     */
    public function senderUpdate(
        string $code,
        ?string $handler = null,
        string|array|null $name = null,
        string|array|null $description = null
    ): void {
        $client = $this->client();
        $parts = ['handler' => $handler, 'name' => $name, 'description' => $description];
        $this->withSender(
            $code,
            $parts,
            fn ($sender, $error): int => $this->ffi->b24_sender_update($client, $sender, $error)
        );
    }

    /**
     * Removes a sender from the portal. If the answer is lost, the list of senders is asked for, to find out
     * whether the sender was removed.
     *
     * @throws MessageServiceException a PortalError with the portal code `ERROR_SENDER_NOT_FOUND` if the code is
     *     not registered
     */
    public function senderDelete(string $code): void
    {
        $code = Argument::text('code', $code);
        $this->call(fn ($client, $error): int => $this->ffi->b24_sender_delete($client, $code, $error));
    }

    /**
     * The provider codes of the senders that the application has registered with the portal.
     *
     * @return list<string>
     *
     * @throws MessageServiceException see the classes in the namespace Exception
     */
    public function senderList(): array
    {
        $client = $this->client();
        return $this->listed(
            'code',
            fn ($list, $error): int => $this->ffi->b24_sender_list($client, $list, $error)
        );
    }

    /**
     * The current tokens.
     */
    public function tokens(): Tokens
    {
        return Tokens::of($this->ffi, $this->client());
    }

    /**
     * Waits until no renewal of tokens is under way in this process.
     *
     * A renewal may take longer than the call that started it. Once its request has been sent, only the
     * answer has tokens that work, so it is awaited and stored even after the call has ended. On the command
     * line this method is called at shutdown, for 45 seconds at most. Call it yourself if the process ends
     * in another way. After a fork, renewals stay with the parent, which finishes them.
     *
     * @throws Exception\CallTimeout if a renewal is still under way; at once if `$seconds` is 0
     * @throws InvalidArgument if `$seconds` is negative or too large
     */
    public static function renewalsWait(float $seconds): void
    {
        Renewals::wait($seconds);
    }

    /**
     * @return array<string, string>
     */
    public function __debugInfo(): array
    {
        return ['portal' => $this->portal ?? ''];
    }

    public function __serialize(): array
    {
        throw new \LogicException(self::class . ' holds a connection: make one where you need it');
    }

    private function __clone()
    {
    }

    /**
     * When PHP ends, it destroys objects in the order in which they were made, even if others still use them.
     */
    private function client(): \FFI\CData
    {
        return $this->client
            ?? throw new InvalidArgument('PHP is ending and has destroyed the client already: make its calls earlier');
    }

    /**
     * Makes a call with a sender of these parts; those that are null stay unset.
     *
     * @param array<string, string|array<string, string>|null> $parts
     * @param \Closure(\FFI\CData, \FFI\CData): int $call takes the sender and the place for its error
     */
    private function withSender(string $code, array $parts, \Closure $call): void
    {
        $code = Argument::text('code', $code);
        $this->call(function ($client, $error) use ($code, $parts, $call): int {
            $sender = $this->ffi->b24_sender_new($code);
            try {
                foreach ($parts as $name => $given) {
                    if (is_string($given)) {
                        $this->setPart($sender, $name, null, $given);
                    }
                    foreach (is_array($given) ? $given : [] as $language => $text) {
                        $this->setPart($sender, $name, Argument::text("a language of $name", $language), $text);
                    }
                }
                return $call($sender, $error);
            } finally {
                $this->ffi->b24_sender_free($sender);
            }
        });
    }

    private function setPart(\FFI\CData $sender, string $name, ?string $language, mixed $text): void
    {
        if (!is_string($text)) {
            throw new InvalidArgument("$name in \"$language\" is a " . get_debug_type($text) . "; it takes text");
        }
        $text = Argument::text($name, $text);
        $error = Failure::place($this->ffi);
        Failure::check(
            $this->ffi->b24_sender_set($sender, $name, $language, $text, \FFI::addr($error)),
            $error
        );
    }

    /**
     * The values with a name in the list that a call returns.
     *
     * @param \Closure(\FFI\CData, \FFI\CData): int $call takes the places for its list and its error
     *
     * @return list<string>
     */
    private function listed(string $name, \Closure $call): array
    {
        return Handover::after(
            fn (): array => array_column(Rows::of($this->ffi, [$name], $call), $name),
            $this->tokensTo()
        );
    }

    /**
     * @param \Closure(\FFI\CData, \FFI\CData): int $call takes the client and the place for its error
     */
    private function call(\Closure $call): void
    {
        $client = $this->client();
        Handover::after(function () use ($call, $client): void {
            $error = Failure::place($this->ffi);
            Failure::check($call($client, \FFI::addr($error)), $error);
        }, $this->tokensTo());
    }

    /**
     * What hands over renewed tokens, if somebody wants them.
     *
     * @return (\Closure(): void)|null
     */
    private function tokensTo(): ?\Closure
    {
        return $this->renewed === null ? null : $this->renewed->handOver(...);
    }

    /**
     * Another handle of the same client.
     *
     * @param int $milliseconds the timeout of its calls; 0 for that of the options
     */
    private function limited(int $milliseconds): \FFI\CData
    {
        return Signals::held(function () use ($milliseconds): \FFI\CData {
            $limited = $this->ffi->new('b24_client *');
            $error = Failure::place($this->ffi);
            $client = $this->client();
            Failure::check(
                $this->ffi->b24_client_limited($client, $milliseconds, null, \FFI::addr($limited), \FFI::addr($error)),
                $error
            );
            return $limited;
        });
    }
}
