<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The portal knows no such message of this application and provider code. Drop the update.
 */
final class MessageNotFound extends \OutOfBoundsException implements MessageServiceException
{
    use Details;

    private const KIND = 'MESSAGE_NOT_FOUND';
}
