<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * Any other refusal by the portal.
 */
final class PortalError extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'PORTAL';
}
