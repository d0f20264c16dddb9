<?php

declare(strict_types=1);

/**
 * A provider's handler under PHP-FPM: takes a message from the portal, sends it, and reports its status.
 *
 * The worker's environment has the application token of the installation in B24_APPLICATION_TOKEN.
 */

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Status;

require __DIR__ . '/../autoload.php'; // with Composer: vendor/autoload.php
require __DIR__ . '/settings.php';

/** Replace this with your gateway. */
function send(string $to, string $text): bool
{
    return $to !== '' && $text !== '';
}

/** Answers the portal, and ends the program. */
function refuse(int $status, string $why): never
{
    http_response_code($status);
    exit("$why\n");
}

// PHP has read `auth[access_token]=…` into arrays; some setups post JSON.
$post = str_starts_with($_SERVER['CONTENT_TYPE'] ?? '', 'application/json')
    ? json_decode((string) file_get_contents('php://input'), true)
    : $_POST;

$text = static function (string ...$path) use ($post): string {
    $value = $post;
    foreach ($path as $name) {
        $value = is_array($value) ? $value[$name] ?? '' : '';
    }
    return is_scalar($value) ? (string) $value : '';
};

$known = (string) getenv('B24_APPLICATION_TOKEN');
if ($known === '' || !hash_equals($known, $text('auth', 'application_token'))) {
    refuse(403, 'not from the portal');
}
if ($text('message_id') === '' || $text('code') === '') {
    refuse(400, 'not a message of messageservice');
}

echo "accepted\n";
// The portal waits for the answer, so answer first and send then.
if (function_exists('fastcgi_finish_request')) {
    fastcgi_finish_request();
}

$status = send($text('message_to'), $text('message_body')) ? Status::Delivered : Status::Undelivered;
try {
    // The token came with the message. Making a client takes microseconds: connections stay with the worker.
    $client = new Client(
        $text('auth', 'client_endpoint'),
        ['access_token' => $text('auth', 'access_token')] + options('ca_file', 'resolve', 'proxy', 'state_dir')
    );
    $client->messageStatusUpdate($text('code'), $text('message_id'), $status);
} catch (MessageServiceException $error) {
    error_log("the status of {$text('message_id')} was not reported: {$error->kind()}: {$error->getMessage()}");
}
