<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The portal's limits do not allow the call before its deadline.
 */
final class RateLimited extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'RATE_LIMITED';
}
