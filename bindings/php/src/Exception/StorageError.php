<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * What `state_dir` holds could not be read, written or locked; the message names the file.
 */
final class StorageError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'STORAGE';
}
