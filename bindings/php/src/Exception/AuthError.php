<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The tokens are no longer valid, and could not be renewed.
 */
final class AuthError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'AUTH';
}
