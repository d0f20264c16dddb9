<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception\MessageServiceException;
use PHPUnit\Framework\TestCase;

/**
 * Nothing that PHP shows of a client or an exception holds a secret.
 */
final class SecretsTest extends TestCase
{
    private const SECRET = 'known-to-nobody-else';

    protected function setUp(): void
    {
        self::assertSame('0', ini_get('zend.exception_ignore_args'), 'traces must hold arguments here');
    }

    /** All that PHP can write of a value. */
    private static function dumped(mixed $value): string
    {
        ob_start();
        var_dump($value);
        print_r($value);
        echo json_encode($value, JSON_PARTIAL_OUTPUT_ON_ERROR);
        if ($value instanceof \Throwable) {
            echo $value, $value->getTraceAsString();
            var_dump($value->getTrace());
        } else {
            // An exception's trace leads to the test's own objects, which refer to themselves.
            var_export($value);
        }
        return (string) ob_get_clean();
    }

    private static function assertShowsNoSecret(mixed $value): void
    {
        $text = self::dumped($value);
        self::assertNotSame('', $text);
        foreach ([self::SECRET, Portal::ACCESS_TOKEN, Portal::REFRESH_TOKEN, Portal::SECRET] as $secret) {
            self::assertStringNotContainsString($secret, $text);
        }
    }

    public function testAClientShowsItsPortalOnly(): void
    {
        $client = new Client('portal.bitrix24.test', Portal::with()->renewable());
        self::assertShowsNoSecret($client);
        self::assertMatchesRegularExpression(
            '/^\S+ Object\s+\(\s+\[portal\] => portal\.bitrix24\.test\s+\)\s+$/',
            print_r($client, true)
        );
    }

    public function testTokensShowNoTokenUnlessAsked(): void
    {
        // A configuration of its own: a shared client may know renewed tokens already.
        $options = ['user_agent' => 'secrets'] + Portal::with()->renewable();
        $tokens = (new Client('portal.bitrix24.test', $options))->tokens();
        self::assertSame(Portal::ACCESS_TOKEN, $tokens->accessToken);
        ob_start();
        var_dump($tokens);
        print_r($tokens);
        echo json_encode($tokens);
        $text = (string) ob_get_clean();
        self::assertStringContainsString('clientEndpoint', $text);
        self::assertStringNotContainsString(Portal::ACCESS_TOKEN, $text);
        self::assertStringNotContainsString(Portal::REFRESH_TOKEN, $text);
    }

    /**
     * @return array<string, array{array<string, mixed>}>
     */
    public static function faultyOptions(): array
    {
        return [
            'another option is bad' => [['access_token' => self::SECRET, 'timeout_ms' => 'soon']],
            'the token itself is bad' => [['access_token' => self::SECRET . "\n"]],
            'the token has a NUL' => [['access_token' => self::SECRET . "\0"]],
            'the secret is in a list' => [['access_token' => ['a', self::SECRET . "\0"]]],
            'the combination is bad' => [['access_token' => 'x', 'client_secret' => self::SECRET]],
            'the proxy has a password' => [['access_token' => 'x', 'proxy' => 'ftp://u:' . self::SECRET . '@p']],
        ];
    }

    /**
     * @dataProvider faultyOptions
     * @param array<string, mixed> $options
     */
    public function testAnExceptionOfTheConstructorShowsNoSecret(array $options): void
    {
        // The data provider's own arguments, which hold the secret, are in the trace of whatever a
        // test throws: so the call is made where there is no such frame.
        $done = Program::code(
            '$options = ' . var_export($options, true) . ';'
            . <<<'PHP'
            try {
                new B24\MessageService\Client('portal.bitrix24.test', $options);
            } catch (B24\MessageService\Exception\InvalidConfig $error) {
                var_dump($error);
                print_r($error);
                var_dump($error->getTrace());
                echo $error, json_encode($error);
            }
            PHP,
            ['-d', 'zend.exception_ignore_args=0', '-d', 'zend.exception_string_param_max_len=1000']
        );
        self::assertStringContainsString('InvalidConfig', $done->output, $done->errors);
        self::assertStringNotContainsString(self::SECRET, $done->output . $done->errors);
    }

    public function testAnExceptionOfACallShowsNoSecret(): void
    {
        $portal = Portal::with(['expired' => true, 'oauth' => ['status' => 400, 'error' => 'invalid_grant']]);
        $client = new Client('portal.bitrix24.test', $portal->renewable());
        $done = null;
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
        } catch (MessageServiceException $done) {
            self::assertStringNotContainsString(Portal::ACCESS_TOKEN, $done . json_encode($done));
            foreach ($done->getTrace() as $frame) {
                if (str_starts_with($frame['class'] ?? '', 'B24\MessageService\Client')) {
                    self::assertShowsNoSecret($frame);
                }
            }
        }
        self::assertNotNull($done);
    }

    public function testAClientIsNotSerialized(): void
    {
        $client = Portal::with()->client();
        $this->expectException(\LogicException::class);
        $this->expectExceptionMessage('holds a connection');
        serialize($client);
    }

    public function testTokensAreNotSerialized(): void
    {
        $tokens = Portal::with()->client()->tokens();
        $this->expectException(\LogicException::class);
        $this->expectExceptionMessage('holds secrets');
        serialize($tokens);
    }

    public function testAClientIsNotCloned(): void
    {
        $client = Portal::with()->client();
        $this->expectException(\Error::class);
        $this->expectExceptionMessage('private');
        clone $client;
    }
}
