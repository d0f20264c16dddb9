<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InternalError;

/**
 * The tokens of an installation at one moment. Dumps and JSON do not show the two tokens, so that they do
 * not get into logs. The object cannot be serialized, so that they do not get into sessions or queues. To store
 * them, read the properties.
 */
final class Tokens implements \JsonSerializable
{
    public function __construct(
        /** The token that calls use. */
        #[\SensitiveParameter] public readonly string $accessToken,
        /** The token for the next renewal, which works once; empty if there is none. */
        #[\SensitiveParameter] public readonly string $refreshToken,
        /** The portal's REST address: the new one if the portal has moved. */
        public readonly string $clientEndpoint,
        /** The portal's permanent id; empty until the first renewal. */
        public readonly string $memberId,
        /** When the access token expires, in Unix time; null if unknown. */
        public readonly ?int $expires,
    ) {
    }

    /**
     * The tokens of a client.
     *
     * @internal
     */
    public static function of(\FFI $ffi, \FFI\CData $client): self
    {
        return Signals::held(static fn (): self => self::read($ffi, $client));
    }

    private static function read(\FFI $ffi, \FFI\CData $client): self
    {
        $tokens = $ffi->b24_client_tokens($client);
        if ($tokens === null) {
            throw new InternalError('the library returned no tokens: please report this');
        }
        try {
            $expires = $ffi->b24_tokens_expires($tokens);
            return new self(
                $ffi->b24_tokens_access_token($tokens),
                $ffi->b24_tokens_refresh_token($tokens),
                $ffi->b24_tokens_client_endpoint($tokens),
                $ffi->b24_tokens_member_id($tokens),
                $expires === 0 ? null : $expires,
            );
        } finally {
            $ffi->b24_tokens_free($tokens);
        }
    }

    /**
     * @return array<string, string|int|null>
     */
    public function __debugInfo(): array
    {
        return [
            'clientEndpoint' => $this->clientEndpoint,
            'memberId' => $this->memberId,
            'expires' => $this->expires,
        ];
    }

    /**
     * @return array<string, string|int|null>
     */
    public function jsonSerialize(): array
    {
        return $this->__debugInfo();
    }

    public function __serialize(): array
    {
        throw new \LogicException(self::class . ' holds secrets: store the properties that you need');
    }
}
