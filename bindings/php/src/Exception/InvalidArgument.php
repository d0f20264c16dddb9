<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * An argument is not valid: it was not sent, or the portal refused it. Correct the program that made the
 * call.
 */
final class InvalidArgument extends \InvalidArgumentException implements MessageServiceException
{
    use Details;

    private const KIND = 'INVALID_ARGUMENT';
}
