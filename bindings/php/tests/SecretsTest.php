<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\InvalidConfig;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Provider;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * Nothing that PHP shows of a client or an exception holds a secret.
 */
final class SecretsTest extends TestCase
{
    use InDirectory {
        setUp as makeDirectory;
    }

    private const SECRET = 'known-to-nobody-else';

    protected function setUp(): void
    {
        $this->makeDirectory();
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

    private static function assertShowsNoSecret(mixed $value, Portal $portal): void
    {
        $text = self::dumped($value);
        self::assertNotSame('', $text);
        foreach ([$portal->accessToken, $portal->refreshToken, $portal->clientSecret] as $secret) {
            self::assertStringNotContainsString($secret, $text);
        }
    }

    public function testAClientShowsItsPortalOnly(): void
    {
        $portal = Portal::fresh();
        $client = new Client($portal->host, $portal->renewable());
        self::assertShowsNoSecret($client, $portal);
        self::assertMatchesRegularExpression(
            '/^\S+ Object\s+\(\s+\[portal\] => ' . preg_quote($portal->host) . '\s+\)\s+$/',
            print_r($client, true)
        );
    }

    public function testTokensShowNoTokenUnlessAsked(): void
    {
        $portal = Portal::fresh();
        $tokens = (new Client($portal->host, $portal->renewable()))->tokens();
        self::assertSame($portal->accessToken, $tokens->accessToken);
        ob_start();
        var_dump($tokens);
        print_r($tokens);
        echo json_encode($tokens);
        $text = (string) ob_get_clean();
        self::assertStringContainsString('clientEndpoint', $text);
        self::assertStringNotContainsString($portal->accessToken, $text);
        self::assertStringNotContainsString($portal->refreshToken, $text);
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

    /**
     * Somebody gives a webhook's address, whose path is a password, in the place of the portal. Without a php.ini PHP
     * prints the arguments of what was called.
     */
    public function testATraceWithoutAPhpIniShowsNoWebhook(): void
    {
        $extension = (string) ini_get('extension_dir');
        $webhook = 'https://portal.bitrix24.test/rest/1/' . self::SECRET . '/';
        foreach ([[], ['-d', "extension_dir=$extension", '-d', 'extension=ffi']] as $options) {
            $more = ['-n', '-d', 'display_errors=1', '-d', 'zend.exception_string_param_max_len=1000', '-d', 'log_errors=0'];
            $given = ['WEBHOOK' => $webhook];
            $done = Program::code('new B24\MessageService\Client(getenv("WEBHOOK"));', [...$more, ...$options], $given);
            self::assertStringContainsString('Uncaught B24', $done->output, $done->errors);
            self::assertStringContainsString('Client->__construct(Object(SensitiveParameterValue)', $done->output);
            self::assertStringNotContainsString(self::SECRET, $done->output . $done->errors);
        }
    }

    /**
     * As what reports errors to a server dumps a trace, with the objects that are in it.
     */
    public function testADumpedTraceShowsNoWebhook(): void
    {
        $done = Program::code(
            'try { new B24\MessageService\Client(getenv("WEBHOOK"), access_token: "x"); }'
            . 'catch (B24\MessageService\Exception\InvalidConfig $error) { var_dump($error, $error->getTrace()); }',
            ['-d', 'zend.exception_ignore_args=0', '-d', 'zend.exception_string_param_max_len=1000'],
            ['WEBHOOK' => 'https://portal.bitrix24.test/rest/1/' . self::SECRET . '/']
        );
        self::assertStringContainsString('SensitiveParameterValue', $done->output, $done->errors);
        self::assertStringNotContainsString(self::SECRET, $done->output . $done->errors);
    }

    public function testAnExceptionOfACallShowsNoSecret(): void
    {
        $portal = Portal::fresh(['expired' => true, 'oauth' => ['status' => 400, 'error' => 'invalid_grant']]);
        $client = new Client($portal->host, $portal->renewable());
        $done = null;
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
        } catch (MessageServiceException $done) {
            self::assertStringNotContainsString($portal->accessToken, $done . json_encode($done));
            foreach ($done->getTrace() as $frame) {
                if (str_starts_with($frame['class'] ?? '', 'B24\MessageService\Client')) {
                    self::assertShowsNoSecret($frame, $portal);
                }
            }
        }
        self::assertNotNull($done);
    }

    public function testAClientIsNotSerialized(): void
    {
        $client = Portal::fresh()->client();
        $this->expectException(\LogicException::class);
        $this->expectExceptionMessage('holds a connection');
        serialize($client);
    }

    public function testTokensAreNotSerialized(): void
    {
        $tokens = Portal::fresh()->client()->tokens();
        $this->expectException(\LogicException::class);
        $this->expectExceptionMessage('holds secrets');
        serialize($tokens);
    }

    public function testAClientIsNotCloned(): void
    {
        $client = Portal::fresh()->client();
        $this->expectException(\Error::class);
        $this->expectExceptionMessage('private');
        clone $client;
    }

    private function provider(Portal $portal): Provider
    {
        return new Provider($portal->providerOptions(['store' => "sqlite:$this->directory/b24.db"]));
    }

    public function testAProviderShowsWhetherItIsOpen(): void
    {
        $portal = Portal::fresh();
        $provider = $this->provider($portal);
        self::assertShowsNoSecret($provider, $portal);
        self::assertMatchesRegularExpression('/\(\s+\[open\] => 1\s+\)\s+$/', print_r($provider, true));
        try {
            serialize($provider);
            self::fail('it was serialized');
        } catch (\LogicException $refused) {
            self::assertStringContainsString('holds a store', $refused->getMessage());
        }
        $this->expectException(\Error::class);
        $this->expectExceptionMessage('private');
        clone $provider;
    }

    public function testARequestShowsTheNamesOfItsFieldsAlone(): void
    {
        $portal = Portal::fresh();
        $provider = $this->provider($portal);
        $posted = $portal->install();
        $request = $provider->receive($posted['content_type'], $posted['body']);
        $names = ['auth[access_token]', 'auth[refresh_token]', 'auth[application_token]'];
        $secrets = array_map($request->get(...), $names);
        self::assertSame($secrets[0], $request->fields['auth[access_token]']);
        ob_start();
        var_dump($request);
        print_r($request);
        echo json_encode($request);
        $text = (string) ob_get_clean();
        self::assertStringContainsString('auth[refresh_token]', $text);
        self::assertStringContainsString($request->memberId, $text);
        foreach ($secrets as $secret) {
            self::assertNotSame('', $secret);
            self::assertStringNotContainsString($secret, $text);
        }
        try {
            serialize($request);
            self::fail('it was serialized');
        } catch (\LogicException $refused) {
            self::assertStringContainsString('holds secrets', $refused->getMessage());
        }
        $this->expectException(\Error::class);
        $this->expectExceptionMessage('private');
        clone $request;
    }

    /**
     * @return array<string, array{string, class-string}>
     */
    public static function failuresOfAProvider(): array
    {
        return [
            'option' => ["new Provider(['client_secret' => \$secret, 'no' => 1] + \$options);", InvalidConfig::class],
            'body' => ["\$provider->receive('application/json', \"\$secret {\");", InvalidArgument::class],
            'form' => ["\$provider->receive('', \"auth[member_id]=\$secret\");", MessageServiceException::class],
            'content type' => ["\$provider->receive(\"a\\0b\", \$secret);", InvalidArgument::class],
            'auth' => ["\$provider->install(\"\$secret {\");", MessageServiceException::class],
            'array' => ["\$provider->install(['a' => \$secret, 'x' => \"\\xff\"]);", InvalidArgument::class],
            'token with a NUL' => ["\$provider->install('{}', \"\$secret\\0\");", InvalidArgument::class],
            'auth with a NUL' => ["\$provider->install(\"\$secret\\0\");", InvalidArgument::class],
        ];
    }

    /**
     * @dataProvider failuresOfAProvider
     * @param class-string $class
     */
    public function testAnExceptionOfAProviderShowsNoSecret(string $call, string $class): void
    {
        $options = Portal::fresh()->providerOptions(['store' => "sqlite:$this->directory/b24.db"]);
        $done = Program::code(
            'use B24\MessageService\Provider; $options = ' . var_export($options, true) . ';'
            . '$secret = ' . var_export(self::SECRET, true) . ';'
            . '$provider = new Provider($options);'
            . "try { $call echo 'it was taken'; } catch ($class \$error) {"
            . <<<'PHP'
                var_dump($error);
                print_r($error);
                var_dump($error->getTrace());
                echo $error, json_encode($error);
            }
            PHP,
            ['-d', 'zend.exception_ignore_args=0', '-d', 'zend.exception_string_param_max_len=1000']
        );
        self::assertStringContainsString('Exception\\', $done->output, $done->errors);
        self::assertStringNotContainsString(self::SECRET, $done->output . $done->errors);
    }
}
