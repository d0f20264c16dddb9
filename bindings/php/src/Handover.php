<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\HandlerFailed;
use B24\MessageService\Exception\MessageServiceException;

/**
 * Gives the host's own code what came about during a call, when the call has ended: renewed tokens and log records.
 *
 * @internal
 */
final class Handover
{
    /** Whether a call is under way, or the host's code: calls that these make hand nothing over. */
    private static bool $busy = false;

    /** @var array<string, true> what was told at the end: it is thrown again if the same is handed over again */
    private static array $told = [];

    /**
     * The program is ending. If it was ended by `exit` in the middle of a call, in a handler of signals or in the host's
     * code, that has not come to its end, and what came about is handed over now.
     */
    public static function abandoned(): void
    {
        self::$busy = false;
        Log::abandoned();
    }

    /**
     * Makes a call, and hands over what came about during it.
     *
     * @template Outcome
     * @param \Closure(): Outcome $call a dump of it shows the values that it uses
     * @param (\Closure(): mixed)|null $tokens hands over renewed tokens, if somebody wants them
     * @param bool $held whether handlers of signals are held back: not while the call reads what the host's code makes
     *
     * @return Outcome
     *
     * @throws HandlerFailed with the outcome, if the call was carried out and the host's code has failed
     * @throws MessageServiceException what the call throws; if the host's code has failed too, with that as the previous
     */
    public static function after(
        #[\SensitiveParameter] \Closure $call,
        ?\Closure $tokens = null,
        bool $held = true
    ): mixed {
        if (self::$busy || ($tokens === null && !Log::isOn())) {
            return $held ? Signals::held($call) : $call();
        }
        self::$busy = true;
        try {
            $outcome = $held ? Signals::held($call) : $call();
        } catch (MessageServiceException $fault) {
            self::chain($fault, self::handOver($tokens));
            throw $fault;
        } finally {
            self::$busy = false;
        }
        self::$busy = true;
        $failure = self::handOver($tokens);
        self::$busy = false;
        if ($failure !== null) {
            throw new HandlerFailed($outcome, $failure);
        }
        return $outcome;
    }

    /**
     * Runs the host's code at the end of the program, where nobody can catch what it throws.
     */
    public static function atTheEnd(\Closure $handOver): void
    {
        try {
            $handOver();
        } catch (\Throwable $failure) {
            while ($failure instanceof HandlerFailed && $failure->getPrevious() !== null) {
                $failure = $failure->getPrevious();
            }
            [$class, $place] = [get_class($failure), "{$failure->getFile()}:{$failure->getLine()}"];
            if (isset(self::$told["$class $place"])) {
                return;
            }
            self::$told["$class $place"] = true;
            $message = Renewed::isQuotedIn($failure->getMessage())
                ? '(its message is not shown, as it quotes a token)'
                : strtr($failure->getMessage(), "\r\n", '  ');
            error_log(
                "b24/messageservice: the logger or the handler of renewed tokens has thrown $class: $message in $place"
            );
        }
    }

    private static function handOver(?\Closure $tokens): ?\Throwable
    {
        $failure = null;
        try {
            $tokens === null || $tokens();
        } catch (\Throwable $failure) {
            // The records are handed over nevertheless.
        }
        try {
            Log::flush();
        } catch (\Throwable $fault) {
            $failure ??= $fault;
        }
        return $failure;
    }

    private static function chain(\Throwable $fault, ?\Throwable $failure): void
    {
        if ($failure !== null && $fault->getPrevious() === null) {
            // There is no other way once an exception is made, and it was made before the host's code has run.
            $previous = new \ReflectionProperty(\Exception::class, 'previous');
            $previous->setValue($fault, $failure);
        }
    }
}
