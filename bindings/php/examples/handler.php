<?php

declare(strict_types=1);

/**
 * A provider's handler under PHP-FPM: takes what portals post - messages, installations, uninstallations - and
 * hands messages to the operator. The operator's receipts come to receipt.php; drain.php sends them to the portals.
 *
 * Give the portal its address for both the handler and the application's events; B24_HANDLER has it. The page of
 * the installation wizard is the same address with ?page=install.
 */

use B24\MessageService\Exception\AccessDenied;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Exception\PortalError;
use B24\MessageService\Provider;
use B24\MessageService\Request;
use B24\MessageService\RequestKind;

require __DIR__ . '/provider.php';

/** Hands a message to the operator, and gives the operator's id of it. Replace this with your gateway. */
function send(string $to, string $text, string $ownId): string
{
    return "id-of-$ownId";
}

function take(Provider $provider, Request $message): void
{
    $id = send($message->get('message_to'), $message->get('message_body'), $message->get('message_id'));
    // The operator's receipt has this id, and may come weeks later. If it comes before this line, it waits for it.
    $provider->track(
        $id,
        $message->memberId,
        $message->get('code'),
        $message->get('message_id'),
        operator: OPERATOR
    );
    answer(200, 'accepted');
}

/** Makes the provider one that users of the portal can choose. */
function register(Provider $provider, string $memberId): void
{
    try {
        $provider->client($memberId)->senderAdd('provider1', (string) getenv('B24_HANDLER'), 'Provider One');
    } catch (PortalError $error) {
        if ($error->portalCode() !== 'ERROR_SENDER_ALREADY_INSTALLED') {
            throw $error;
        }
    }
}

/** A page of the application in a frame. */
function page(Provider $provider, Request $frame): void
{
    if (($_GET['page'] ?? '') !== 'install') {
        answer(200, '<p>Provider One is ready.</p>');
        return;
    }
    // On this page alone: the other pages bring the tokens of whoever opens them.
    $provider->installRequest($frame);
    register($provider, $frame->memberId);
    answer(200, '<script src="//api.bitrix24.com/api/v1/"></script><script>BX24.init(BX24.installFinish)</script>');
}

try {
    $provider = provider();
    try {
        $request = $provider->receive($_SERVER['CONTENT_TYPE'] ?? '', (string) file_get_contents('php://input'));
    } catch (InvalidArgument $error) {
        answer(400, $error->getMessage());
        exit;
    } catch (AccessDenied) {
        answer(403, 'not from the portal');
        exit;
    }
    switch ($request->kind) {
        case RequestKind::Message:
            take($provider, $request);
            break;
        case RequestKind::Install:
            register($provider, $request->memberId);
            answer(200, 'installed');
            break;
        case RequestKind::Uninstall:
            answer(200, 'uninstalled');
            break;
        case RequestKind::Frame:
            page($provider, $request);
            break;
    }
} catch (MessageServiceException $error) {
    error_log("{$error->kind()}: {$error->getMessage()}");
    answer(503, 'come back later');
}
