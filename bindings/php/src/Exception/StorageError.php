<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * A file in `state_dir` could not be read, written or locked; the message names it.
 */
final class StorageError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'STORAGE';
}
