<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The portal's limits do not allow the call before its deadline. Call again after the time that the error
 * says, and send batches.
 */
final class RateLimited extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'RATE_LIMITED';
}
