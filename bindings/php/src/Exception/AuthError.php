<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The tokens are no longer valid, and could not be renewed. Have the application authorized or installed
 * again.
 */
final class AuthError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'AUTH';
}
