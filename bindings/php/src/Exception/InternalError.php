<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * A bug in this library, or there was no free file descriptor or thread. The client can still be used. Raise
 * the limit that the message names. If it names none, please report the bug.
 */
final class InternalError extends \LogicException implements MessageServiceException
{
    use Details;

    private const KIND = 'INTERNAL';
}
