<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * What the store has about a portal.
 */
final class PortalState
{
    /** @internal the names of a row in C */
    public const NAMES =
        ['member_id', 'client_endpoint', 'state', 'reason', 'waiting', 'refused', 'oldest_ms', 'next_due_ms'];

    private function __construct(
        /** The portal's permanent id. */
        public readonly string $memberId,
        /** Its REST address; empty if it is not known. */
        public readonly string $clientEndpoint,
        /** `active`, `waiting` (after a failure of the portal), `held`, `uninstalled` or `unknown`. */
        public readonly string $state,
        /** Why it is waiting or held; empty otherwise. */
        public readonly string $reason,
        /** How many receipts are not sent yet, held ones included. */
        public readonly int $waiting,
        /** How many receipts were refused and are kept with the reason. */
        public readonly int $refused,
        /** How old the oldest of those that wait is, in seconds; null if there is none. */
        public readonly ?float $oldest,
        /** Seconds until the next can be sent; null if there is none. */
        public readonly ?float $nextDue,
    ) {
    }

    /**
     * @internal
     * @param array<string, string> $row
     */
    public static function fromRow(array $row): self
    {
        $seconds = static fn (string $milliseconds): ?float => $milliseconds === '' ? null : $milliseconds / 1000;
        return new self(
            $row['member_id'],
            $row['client_endpoint'],
            $row['state'],
            $row['reason'],
            (int) $row['waiting'],
            (int) $row['refused'],
            $seconds($row['oldest_ms']),
            $seconds($row['next_due_ms']),
        );
    }
}
