<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\MessageServiceException;

/**
 * Waits for renewals of tokens, at the latest when a program on the command line ends.
 *
 * @internal
 */
final class Renewals
{
    private static bool $waits = false;
    /** Whether the program is ending: an object that is destroyed from then on may have started a renewal. */
    private static bool $ends = false;

    /**
     * Waits until no renewal is under way in this process.
     *
     * @throws MessageServiceException if it takes longer
     */
    public static function wait(float $seconds): void
    {
        $ffi = Loader::ffi();
        $error = Failure::place($ffi);
        $milliseconds = Argument::milliseconds($seconds);
        Handover::after(static function () use ($ffi, $milliseconds, $error): void {
            Failure::check($ffi->b24_renewals_wait($milliseconds, \FFI::addr($error)), $error);
        }, Renewed::areWanted() ? Renewed::handOverAll(...) : null);
    }

    /**
     * Whether a renewal is under way in this process.
     */
    public static function underWay(): bool
    {
        return Signals::held(static fn (): bool => Loader::ffi()->b24_renewals_wait(0, null) !== 0);
    }

    /**
     * Whether they end with this program: not in a worker of FPM, which keeps running after a web request.
     */
    public static function endWithTheProgram(): bool
    {
        return in_array(PHP_SAPI, ['cli', 'phpdbg'], true);
    }

    /**
     * Not for a worker of FPM: it keeps running after a web request, and waiting would delay its answer.
     */
    public static function waitAtShutdown(): void
    {
        if (self::$waits || !self::endWithTheProgram()) {
            return;
        }
        self::$waits = true;
        // Registered from within, so that it runs after the program's own functions, which may make calls.
        register_shutdown_function(static function (): void {
            self::$ends = true;
            Handover::abandoned();
            register_shutdown_function(self::finish(...));
        });
    }

    /**
     * For objects that are destroyed: if the program is ending, they are the last to have made calls.
     */
    public static function destroyed(): void
    {
        if (self::$ends) {
            self::finish();
        }
    }

    private static function finish(): void
    {
        Handover::atTheEnd(static function (): void {
            try {
                self::wait(45.0);
            } catch (MessageServiceException $late) {
                error_log("the program ends in the middle of a renewal: {$late->getMessage()}");
            }
            Log::flush();
        });
    }
}
