<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * A bug in the library, or a kind of error that only a newer package knows; the client can still be used.
 */
final class InternalError extends \LogicException implements MessageServiceException
{
    use Details;

    private const KIND = 'INTERNAL';
}
