<?php

// Written by `make generate` from the kinds of error in src/values/error.rs.

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The store, or a file in `state_dir`, could not be read, written or locked. The message names it. Check disk
 * space, permissions and the limit of open files.
 */
final class StorageError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'STORAGE';
}
