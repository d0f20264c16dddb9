<?php

declare(strict_types=1);

namespace B24\Portal;

/**
 * The emulator could not be started, refused a command, or did not see what was awaited.
 */
final class PortalException extends \RuntimeException
{
}
