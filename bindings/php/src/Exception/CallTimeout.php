<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The deadline passed; the update may or may not have been stored.
 */
final class CallTimeout extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'TIMEOUT';
}
