<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InternalError;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\InvalidConfig;
use B24\MessageService\Exception\MessageServiceException;

/**
 * Makes calls to one portal.
 *
 * Clients with an equal configuration share one client of the process, so that an FPM worker keeps its
 * connection and the renewed tokens from one web request to the next. Calls block until the portal has
 * answered or `timeout_ms` has passed.
 */
final class Client
{
    private readonly \FFI $ffi;
    private ?\FFI\CData $client = null;

    /**
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
    public function __construct(private readonly string $portal, #[\SensitiveParameter] array $options = [])
    {
        $this->ffi = Loader::ffi();
        Renewals::waitAtShutdown();
        $this->client = Options::with($this->ffi, ['portal' => $portal] + $options, function ($config): \FFI\CData {
            $client = $this->ffi->new('b24_client *');
            $error = Failure::place($this->ffi);
            Failure::check($this->ffi->b24_client_shared($config, \FFI::addr($client), \FFI::addr($error)), $error);
            return $client;
        });
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
        $limited = $this->ffi->new('b24_client *');
        $error = Failure::place($this->ffi);
        Failure::check(
            $this->ffi->b24_client_limited(
                $this->client(),
                $milliseconds,
                null,
                \FFI::addr($limited),
                \FFI::addr($error)
            ),
            $error
        );
        return self::ofProvider($this->ffi, $limited, $this->portal);
    }

    public function __destruct()
    {
        if ($this->client !== null) {
            $this->ffi->b24_client_free($this->client);
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
        $error = Failure::place($this->ffi);
        Failure::check(
            $this->ffi->b24_message_status_update($this->client(), $code, $messageId, $status, \FFI::addr($error)),
            $error
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
        return $batch->outcomes(
            fn ($updates): int => $this->ffi->b24_message_status_update_batch($this->client(), $updates, null)
        );
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
        $error = Failure::place($this->ffi);
        Failure::check($this->ffi->b24_sender_delete($this->client(), $code, \FFI::addr($error)), $error);
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
        $tokens = $this->ffi->b24_client_tokens($this->client());
        if ($tokens === null) {
            throw new InternalError('the library returned no tokens: please report this');
        }
        try {
            $expires = $this->ffi->b24_tokens_expires($tokens);
            return new Tokens(
                $this->ffi->b24_tokens_access_token($tokens),
                $this->ffi->b24_tokens_refresh_token($tokens),
                $this->ffi->b24_tokens_client_endpoint($tokens),
                $this->ffi->b24_tokens_member_id($tokens),
                $expires === 0 ? null : $expires,
            );
        } finally {
            $this->ffi->b24_tokens_free($tokens);
        }
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
        return ['portal' => $this->portal];
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
        $sender = $this->ffi->b24_sender_new(Argument::text('code', $code));
        try {
            foreach ($parts as $name => $given) {
                if (is_string($given)) {
                    $this->setPart($sender, $name, null, $given);
                }
                foreach (is_array($given) ? $given : [] as $language => $text) {
                    $this->setPart($sender, $name, Argument::text("a language of $name", $language), $text);
                }
            }
            $error = Failure::place($this->ffi);
            Failure::check($call($sender, \FFI::addr($error)), $error);
        } finally {
            $this->ffi->b24_sender_free($sender);
        }
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
        return array_column(Rows::of($this->ffi, [$name], $call), $name);
    }
}
