<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageServiceException;

/**
 * Updates that go to the library together, and what became of each.
 *
 * @internal
 */
final class Batch
{
    private readonly \FFI\CData $batch;
    /** @var list<InvalidArgument|null> what was found wrong here, by the order of adding */
    private array $faults = [];

    public function __construct(private readonly \FFI $ffi)
    {
        $this->batch = Signals::held(static fn () => $ffi->b24_batch_new());
    }

    public function __destruct()
    {
        Signals::held(fn () => $this->ffi->b24_batch_free($this->batch));
    }

    /**
     * Adds an update: code, message id and status. One that is none has an outcome that says so.
     */
    public function add(mixed $update): void
    {
        try {
            $entry = self::entry($update);
            Signals::held(fn () => $this->ffi->b24_batch_add($this->batch, ...$entry));
            $this->faults[] = null;
        } catch (InvalidArgument $fault) {
            $this->faults[] = $fault;
        }
    }

    /**
     * Has the library send them.
     *
     * @param \Closure(\FFI\CData): mixed $send takes the batch
     *
     * @return list<?MessageServiceException> the outcome of each update; null if it was taken. Updates that
     *     failed for the same reason may share one object
     */
    public function outcomes(\Closure $send): array
    {
        $send($this->batch);
        $outcomes = $this->faults;
        $index = 0;
        $last = null;
        $exception = null;
        foreach ($this->faults as $at => $fault) {
            if ($fault !== null) {
                continue;
            }
            $error = $this->ffi->b24_batch_error($this->batch, $index++);
            if ($error === null) {
                continue;
            }
            // The same address: updates that failed for the same reason share their error.
            if ($last === null || $error != $last) {
                $last = $error;
                $exception = Failure::exception($error);
            }
            $outcomes[$at] = $exception;
        }
        return $outcomes;
    }

    /**
     * @return array{string, string, string}
     */
    private static function entry(mixed $update): array
    {
        if (!is_array($update)) {
            throw new InvalidArgument(
                'an update is an array of code, message id and status, not ' . get_debug_type($update)
            );
        }
        $update = array_values($update);
        if (count($update) !== 3) {
            $fault = match (count($update)) {
                0 => 'code, message id and status are missing',
                1 => 'message id and status are missing',
                2 => 'status is missing',
                default => count($update) . ' values are too many',
            };
            throw new InvalidArgument("$fault: an update is an array of code, message id and status");
        }
        foreach ($update as $value) {
            if (!is_string($value) && !is_int($value) && !$value instanceof Status) {
                throw new InvalidArgument(
                    'an update of a batch contains a ' . get_debug_type($value) . ' where text is needed'
                );
            }
        }
        [$code, $messageId, $status] = $update;
        return [
            Argument::text('code', $code),
            Argument::text('message id', $messageId),
            Argument::text('status', $status),
        ];
    }
}
