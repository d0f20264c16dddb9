<?php

declare(strict_types=1);

/**
 * Where the operator posts its receipts, under PHP-FPM: `id`, which is its own id of the message; `stat`, in the words
 * of SMPP (DELIVRD, UNDELIV and so on); and, if it tells it, the Unix time `at`. It is answered when the receipt is
 * stored, and drain.php then sends it to the portal.
 *
 * The header X-Operator-Token must be what B24_OPERATOR_TOKEN is.
 */

use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Vocabulary;

require __DIR__ . '/provider.php';

/** A field of the form; empty if it is not there. */
function field(string $name): string
{
    $value = $_POST[$name] ?? '';
    return is_string($value) ? $value : '';
}

$known = (string) getenv('B24_OPERATOR_TOKEN');
if ($known === '' || !hash_equals($known, $_SERVER['HTTP_X_OPERATOR_TOKEN'] ?? '')) {
    answer(403, 'not from the operator');
    exit;
}
try {
    $at = ctype_digit(field('at')) ? new DateTimeImmutable('@' . field('at')) : null;
    $status = (new Vocabulary('smpp'))->status(field('stat'));
    provider()->reportReference(field('id'), $status, $at, operator: OPERATOR);
    answer(200, 'stored');
} catch (InvalidArgument $error) {
    // To send it again would not help.
    error_log("receipt of {$_SERVER['REMOTE_ADDR']}: {$error->getMessage()}");
    answer(400, $error->getMessage());
} catch (MessageServiceException $error) {
    // Not stored: the operator has to send it again.
    error_log("{$error->kind()}: {$error->getMessage()}");
    answer(503, 'come back later');
}
