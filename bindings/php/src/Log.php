<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InvalidArgument;
use Psr\Log\LoggerInterface;

/**
 * Hands the library's log records to a PSR-3 logger.
 *
 * The library never calls PHP, least of all from its own threads. Records wait in a queue of the process, and after
 * each call of a client or provider they are handed over, also if the call has failed. No record contains a secret.
 */
final class Log
{
    /** How many records wait at most. A long drain may leave so many; more are counted, and that is logged. */
    private const CAPACITY = 10_000;

    /** The library's level up to which records are kept, for the least level that a logger is to get. */
    private const UP_TO = [
        'emergency' => 0,
        'alert' => 0,
        'critical' => 0,
        'error' => 1,
        'warning' => 2,
        'notice' => 2,
        'info' => 3,
        'debug' => 5,
    ];

    private const LEVELS = ['1' => 'error', '2' => 'warning', '3' => 'info', '4' => 'debug', '5' => 'debug'];

    private static ?LoggerInterface $logger = null;
    private static bool $ends = false;
    private static bool $busy = false;
    /** @var list<array<string, string>> taken from the library, and not handed over yet, as the logger has failed */
    private static array $pending = [];

    /**
     * Sets the logger of this process, or under FPM of this web request. It replaces one that was set before; null
     * turns the log off.
     *
     * A record is one line. Its context has `target`, which begins with `b24_messageservice`, and `at`, a
     * `DateTimeImmutable`: when it came about, which is before it is handed over. If the logger throws, so does the
     * call: see `Exception\HandlerFailed`. If the former logger throws when it is given what waits, so does this, when
     * the new one is set.
     *
     * @param string $level the least level that is logged, by its name in PSR-3: of calls that were repeated and tokens
     *     that were renewed `info` tells, and of each attempt `debug`
     *
     * @throws InvalidArgument if there is no such level
     * @throws Exception\LibraryUnavailable if FFI or the shared library is not available
     */
    public static function to(?LoggerInterface $logger, string $level = 'info'): void
    {
        $upTo = self::UP_TO[$level] ?? throw new InvalidArgument(
            'there is no level ' . var_export($level, true) . ': give one of ' . implode(', ', array_keys(self::UP_TO))
        );
        if (self::$logger === null) {
            // What another web request has left there is not this one's.
            self::take();
            self::$pending = [];
        }
        try {
            self::flush();
        } finally {
            self::$logger = $logger;
            self::$pending = $logger === null ? [] : self::$pending;
            self::queue($logger === null ? 0 : $upTo, self::CAPACITY);
            if ($logger !== null && !self::$ends) {
                self::$ends = true;
                // Registered from within, so that it runs after the program's own functions, which may make calls.
                register_shutdown_function(static function (): void {
                    Handover::abandoned();
                    register_shutdown_function(self::end(...));
                });
            }
        }
    }

    /**
     * Hands over what waits now. For programs that make no call for long, while a renewal of tokens may end.
     */
    public static function flush(): void
    {
        // What comes about while a logger runs waits until it has returned.
        if (self::$logger === null || self::$busy) {
            return;
        }
        self::$busy = true;
        try {
            // First what waits here: if the logger fails at each call, what comes later stays in the library, which
            // bounds it.
            self::handOver();
            self::$pending = self::take();
            self::handOver();
        } finally {
            self::$busy = false;
        }
    }

    private static function handOver(): void
    {
        while (self::$logger !== null && ($row = array_shift(self::$pending)) !== null) {
            self::$logger->log(self::LEVELS[$row['level']] ?? 'error', $row['message'], [
                'target' => $row['target'],
                'at' => self::moment((int) $row['at_ms']),
            ]);
        }
    }

    /**
     * No logger is running, whatever it was in the middle of.
     *
     * @internal
     */
    public static function abandoned(): void
    {
        self::$busy = false;
    }

    /**
     * @internal
     */
    public static function isOn(): bool
    {
        return self::$logger !== null;
    }

    /**
     * @return list<array<string, string>>
     */
    private static function take(): array
    {
        $ffi = Loader::ffi();
        return Signals::held(static function () use ($ffi): array {
            $list = $ffi->b24_log_take();
            return $list === null ? [] : Rows::read($ffi, $list, ['level', 'target', 'message', 'at_ms']);
        });
    }

    private static function queue(int $upTo, int $capacity): void
    {
        Signals::held(static fn () => Loader::ffi()->b24_log_queue($upTo, $capacity));
    }

    private static function moment(int $milliseconds): \DateTimeImmutable
    {
        $at = new \DateTimeImmutable('@' . intdiv($milliseconds, 1000));
        return $at->modify('+' . $milliseconds % 1000 . ' msec');
    }

    /**
     * The process of a worker goes on, and has no logger until the next web request sets one.
     */
    private static function end(): void
    {
        Handover::atTheEnd(self::flush(...));
        if (!Renewals::endWithTheProgram()) {
            self::queue(0, 0);
            self::$logger = null;
        }
    }
}
