<?php

declare(strict_types=1);

/**
 * Reports one status and answers "ok", or with 500 and what went wrong.
 */

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageServiceException;

require __DIR__ . '/../../autoload.php';
require __DIR__ . '/../../examples/settings.php';

try {
    $client = new Client((string) getenv('B24_PORTAL'), options(
        'access_token',
        'refresh_token',
        'client_id',
        'client_secret',
        'oauth_url',
        'state_dir',
        'ca_file',
        'resolve',
        'proxy',
        'rate_limit',
    ));
    $client->messageStatusUpdate('provider1', (string) $_GET['id'], 'delivered');
    echo 'ok ', getmypid();
} catch (MessageServiceException | FFI\Exception $error) {
    http_response_code(500);
    echo $error::class, ': ', $error->getMessage();
}
