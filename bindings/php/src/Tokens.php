<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * A snapshot of an installation's tokens. Neither dumps nor JSON show the two tokens, so that logs do
 * not, and it is not serialized, so that sessions and queues do not: who stores them reads the
 * properties.
 */
final class Tokens implements \JsonSerializable
{
    public function __construct(
        /** The token that calls are made with. */
        #[\SensitiveParameter] public readonly string $accessToken,
        /** The token of the next renewal, which works once; empty if there is none. */
        #[\SensitiveParameter] public readonly string $refreshToken,
        /** The portal's REST address, moves included. */
        public readonly string $clientEndpoint,
        /** The portal's permanent id; empty until a renewal has told it. */
        public readonly string $memberId,
        /** When the access token expires, in Unix time; null if that is not known. */
        public readonly ?int $expires,
    ) {
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
