<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The portal knows no such message of this application and provider code.
 */
final class MessageNotFound extends \OutOfBoundsException implements MessageServiceException
{
    use Details;

    private const KIND = 'MESSAGE_NOT_FOUND';
}
