<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The call was cancelled while it was under way. The portal may or may not have executed it. Call again if it
 * is still wanted.
 */
final class Cancelled extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'CANCELLED';
}
