<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * An option is unknown, malformed, missing, or contradicts another, or a file that it names cannot be used.
 * Correct the option that the message names.
 */
final class InvalidConfig extends \InvalidArgumentException implements MessageServiceException
{
    use Details;

    private const KIND = 'INVALID_CONFIG';
}
