<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * What a drain has done, and what is left.
 */
final class Drained
{
    /**
     * @internal
     */
    public function __construct(
        /** How many receipts portals have stored. */
        public readonly int $sent,
        /** How many were refused for good. `Provider::refused` tells the reasons. */
        public readonly int $refused,
        /** How many are in the store for portals that are held. */
        public readonly int $held,
        /** How many others are in the store. */
        public readonly int $waiting,
        /** Seconds until the first of those can be sent; null if there is none. */
        public readonly ?float $nextDue,
    ) {
    }
}
