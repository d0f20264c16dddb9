<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\MessageServiceException;

/**
 * What became of one receipt of a batch.
 *
 * @template-covariant Key
 * @template-covariant Receipt
 */
final class Outcome
{
    /**
     * @internal
     */
    public function __construct(
        /**
         * The key that it had in what was given: a queue's own number of the message, for example.
         *
         * @var Key
         */
        public readonly mixed $key,
        /**
         * The receipt as it was given.
         *
         * @var Receipt
         */
        public readonly mixed $receipt,
        /** Why it was not applied, or by a provider not stored; null if it was. */
        public readonly ?MessageServiceException $error,
    ) {
    }

    /** Whether it was applied, or by a provider stored. */
    public function isDone(): bool
    {
        return $this->error === null;
    }

    /** Whether it may be given again later: put it back into the queue. */
    public function isRetryable(): bool
    {
        return $this->error?->isRetryable() ?? false;
    }

    /**
     * @internal
     * @template K
     * @template R
     * @param iterable<K, R> $receipts
     * @param \Closure(iterable<R>): list<?MessageServiceException> $send
     *
     * @return list<self<K, R>>
     */
    public static function each(iterable $receipts, \Closure $send): array
    {
        $keys = $kept = [];
        foreach ($receipts as $key => $receipt) {
            $keys[] = $key;
            $kept[] = $receipt;
        }
        return array_map(
            static fn (mixed $key, mixed $receipt, ?MessageServiceException $error) => new self($key, $receipt, $error),
            $keys,
            $kept,
            $send($kept)
        );
    }
}
