<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The call was cancelled.
 */
final class Cancelled extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'CANCELLED';
}
