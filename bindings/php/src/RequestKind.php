<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * What a portal wants of the provider.
 */
enum RequestKind: string
{
    /** A message is to be sent. */
    case Message = 'message';
    /** The application was installed (`ONAPPINSTALL`). It is stored already. */
    case Install = 'install';
    /** The application was removed (`ONAPPUNINSTALL`). Its tokens are gone already. */
    case Uninstall = 'uninstall';
    /** A page of the application was opened in a frame. Nothing was stored. */
    case Frame = 'frame';
}
