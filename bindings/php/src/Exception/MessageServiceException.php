<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * A call that failed.
 *
 * `getMessage()` is for people and says what to do; the other methods are for programs. No text in it
 * contains a token, a client secret or a webhook path.
 */
interface MessageServiceException extends \Throwable
{
    /** The kind of error, one for each class: `MESSAGE_NOT_FOUND`. */
    public function kind(): string;

    /** The portal's own error code as it wrote it (`ERROR_MESSAGE_NOT_FOUND`); empty if none. */
    public function portalCode(): string;

    /** The portal's own description; empty if none. */
    public function description(): string;

    /** The HTTP status of the answer; null if there was none. */
    public function httpStatus(): ?int;

    /** Whether the same call may succeed later without anyone changing anything. */
    public function isRetryable(): bool;

    /** Seconds until the same call can succeed; null if unknown. */
    public function retryAfter(): ?float;
}
