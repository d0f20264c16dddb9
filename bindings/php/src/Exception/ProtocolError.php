<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The answer is not one of a portal.
 */
final class ProtocolError extends \UnexpectedValueException implements MessageServiceException
{
    use Details;

    private const KIND = 'PROTOCOL';
}
