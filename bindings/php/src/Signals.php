<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * Holds back the handlers of signals (`pcntl_async_signals`) while functions of the library are called; afterwards they
 * run.
 *
 * PHP 8.4 and 8.5 run a handler at the end of an FFI call while that call's frame is half gone: if an exception is made
 * in the handler, and be it caught, PHP crashes when it collects the trace.
 *
 * @internal
 */
final class Signals
{
    /**
     * @template Made
     * @param \Closure(): Made $call
     *
     * @return Made
     */
    public static function held(#[\SensitiveParameter] \Closure $call): mixed
    {
        if (!function_exists('pcntl_async_signals') || !pcntl_async_signals(false)) {
            return $call();
        }
        try {
            return $call();
        } finally {
            pcntl_async_signals(true);
            pcntl_signal_dispatch();
        }
    }
}
