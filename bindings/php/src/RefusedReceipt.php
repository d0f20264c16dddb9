<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * A receipt that was given up.
 */
final class RefusedReceipt
{
    /** @internal the names of a row in C */
    public const NAMES =
        ['cursor', 'member_id', 'code', 'message_id', 'operator', 'reference', 'status', 'at_ms', 'reason'];

    private function __construct(
        /** What to give to `Provider::refused` to get those after this one. */
        public readonly string $cursor,
        /** The portal's permanent id; empty for a reference that was never tracked. */
        public readonly string $memberId,
        /** The provider code. */
        public readonly string $code,
        /** The portal's id of the message. */
        public readonly string $messageId,
        /** Whose the reference is. */
        public readonly string $operator,
        /** The operator's reference, if it was reported by that and never tracked. */
        public readonly string $reference,
        /** The status that was not sent. */
        public readonly Status $status,
        /** When the status came about, in UTC. */
        public readonly \DateTimeImmutable $at,
        /** Why: the portal's code, or what happened. */
        public readonly string $reason,
    ) {
    }

    /**
     * @internal
     * @param array<string, string> $row
     */
    public static function fromRow(array $row): self
    {
        $milliseconds = (int) $row['at_ms'];
        // Of what lies before 1970 too, the milliseconds count forwards.
        $part = ($milliseconds % 1000 + 1000) % 1000;
        $at = new \DateTimeImmutable('@' . intdiv($milliseconds - $part, 1000));
        return new self(
            $row['cursor'],
            $row['member_id'],
            $row['code'],
            $row['message_id'],
            $row['operator'],
            $row['reference'],
            Status::from($row['status']),
            $at->modify("+$part msec"),
            $row['reason'],
        );
    }
}
