<?php

declare(strict_types=1);

namespace B24\MessageService\Exception;

/**
 * The portal moved to an address that the token may not be sent to.
 */
final class PortalMoved extends \RuntimeException implements MessageServiceException
{
    use Details;

    private const KIND = 'PORTAL_MOVED';
}
