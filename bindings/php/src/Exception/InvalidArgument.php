<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * An argument of the call cannot be sent; nothing was.
 */
final class InvalidArgument extends \InvalidArgumentException implements MessageServiceException
{
    use Details;

    private const KIND = 'INVALID_ARGUMENT';
}
