<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * A call was carried out, and afterwards a logger or a handler of renewed tokens has thrown.
 *
 * `getPrevious()` is what was thrown, `$outcome` what the call would have returned. Do not repeat the call. Tokens are
 * handed over again after the next one, and so are the log records that the logger was not given yet. If the call has
 * failed, its own exception is thrown, with the handler's as its previous.
 *
 * It is no `MessageServiceException`: who catches those is told what became of a call.
 */
final class HandlerFailed extends \RuntimeException
{
    /**
     * @internal
     */
    public function __construct(
        /** What the call would have returned; null if it returns nothing. */
        #[\SensitiveParameter] public readonly mixed $outcome,
        \Throwable $failure,
    ) {
        parent::__construct(
            'the call was carried out, and then ' . get_class($failure) . ' was thrown by the logger, or by the handler of '
            . 'renewed tokens, that it was to tell: correct that, and do not repeat the call',
            0,
            $failure
        );
    }
}
