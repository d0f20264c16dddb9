<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * Who is given a client's renewed tokens, and which ones he has.
 *
 * @internal
 */
final class Renewed
{
    /**
     * @var array<int|string, self> whose client is gone: by its own id while a renewal was under way, which may be its
     *     own; by the fingerprint of the tokens if these could not be handed over, so that a worker keeps few of them
     */
    private static array $late = [];
    /** @var \WeakMap<self, true>|null all that there are */
    private static ?\WeakMap $all = null;
    /** @var list<string> the tokens that a handler was given last and has thrown at, which its message may quote */
    private static array $refused = [];

    /**
     * @param \FFI\CData $client a handle of its own, which outlives the client
     * @param \Closure(Tokens): mixed $handler
     * @param string $known of the access token that he has, `fingerprint()`
     */
    public function __construct(
        private readonly \FFI $ffi,
        private readonly \FFI\CData $client,
        private readonly \Closure $handler,
        private string $known,
    ) {
        self::$all ??= new \WeakMap();
        self::$all[$this] = true;
    }

    public function __destruct()
    {
        Signals::held(fn () => $this->ffi->b24_client_free($this->client));
    }

    /**
     * What tells tokens apart: a dump of an object may show it.
     */
    public static function fingerprint(#[\SensitiveParameter] string $accessToken): string
    {
        return hash('sha256', $accessToken, true);
    }

    /**
     * Gives him the tokens, unless he has them. If he throws, he is given them again the next time.
     */
    public function handOver(): void
    {
        $tokens = Tokens::of($this->ffi, $this->client);
        $now = self::fingerprint($tokens->accessToken);
        if ($now !== $this->known) {
            try {
                ($this->handler)($tokens);
            } catch (\Throwable $fault) {
                self::$refused = array_values(array_filter([$tokens->accessToken, (string) $tokens->refreshToken]));
                throw $fault;
            }
            $this->known = $now;
            if ((self::$late[$now] ?? null) === $this) {
                unset(self::$late[$now]);
            }
        }
    }

    /**
     * Whether a text quotes tokens that were given to a handler, if only a part, as databases cut values off.
     */
    public static function isQuotedIn(string $text): bool
    {
        foreach (self::$refused as $token) {
            for ($at = 0; $at === 0 || $at + 8 <= strlen($token); $at++) {
                if (str_contains($text, substr($token, $at, 8))) {
                    return true;
                }
            }
        }
        return false;
    }

    /**
     * The client is gone. If a renewal is under way, its tokens are handed over when it has ended; and tokens that were
     * not handed over, as the handler has thrown or the call was left by `exit`, when the program ends.
     */
    public function clientIsGone(): void
    {
        if (Renewals::underWay()) {
            self::$late[spl_object_id($this)] = $this;
            return;
        }
        $now = self::fingerprint(Tokens::of($this->ffi, $this->client)->accessToken);
        if ($now !== $this->known) {
            self::$late[$now] = $this;
        }
    }

    /**
     * Whether anybody wants renewed tokens.
     */
    public static function areWanted(): bool
    {
        return self::$all !== null && count(self::$all) > 0;
    }

    /**
     * Gives each his tokens. If one throws, the others are given theirs nevertheless.
     */
    public static function handOverAll(): void
    {
        $failure = null;
        $failed = [];
        foreach (self::$all ?? [] as $renewed => $_) {
            try {
                $renewed->handOver();
            } catch (\Throwable $fault) {
                $failure ??= $fault;
                $failed[spl_object_id($renewed)] = true;
            }
        }
        if (!Renewals::underWay()) {
            self::$late = array_filter(self::$late, static fn ($late) => isset($failed[spl_object_id($late)]));
        }
        if ($failure !== null) {
            throw $failure;
        }
    }

    /**
     * @return array<string, mixed>
     */
    public function __debugInfo(): array
    {
        return [];
    }
}
