<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * A fault of the library, or a newer library's error; the client stays usable.
 */
final class InternalError extends \LogicException implements MessageServiceException
{
    use Details;

    private const KIND = 'INTERNAL';
}
