<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * An option is unknown, malformed, missing, or contradicts another.
 */
final class InvalidConfig extends \InvalidArgumentException implements MessageServiceException
{
    use Details;

    private const KIND = 'INVALID_CONFIG';
}
