<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The shared library cannot be loaded; the message says what to set.
 */
final class LibraryUnavailable extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'INTERNAL';
}
