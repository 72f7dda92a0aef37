package peer;

import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.messaging.simp.config.MessageBrokerRegistry;
import org.springframework.web.socket.config.annotation.EnableWebSocket;
import org.springframework.web.socket.config.annotation.EnableWebSocketMessageBroker;
import org.springframework.web.socket.config.annotation.StompEndpointRegistry;
import org.springframework.web.socket.config.annotation.WebSocketConfigurer;
import org.springframework.web.socket.config.annotation.WebSocketHandlerRegistry;
import org.springframework.web.socket.config.annotation.WebSocketMessageBrokerConfigurer;
import org.springframework.web.socket.config.annotation.WebSocketTransportRegistration;
import org.springframework.web.socket.server.standard.ServletServerContainerFactoryBean;

/** The endpoints {@code /echo}, {@code /broadcast} and {@code /stomp}, open to every origin. */
@Configuration
@EnableWebSocket
@EnableWebSocketMessageBroker
class Endpoints implements WebSocketConfigurer, WebSocketMessageBrokerConfigurer {

    /** Tomcat keeps two buffers of this size for every connection, so it is no more than is needed. */
    private static final int TEXT_BUFFER_SIZE = 64 * 1024;

    private static final int LARGEST_MESSAGE = 1024 * 1024;

    @Override
    public void registerWebSocketHandlers(WebSocketHandlerRegistry registry) {
        registry.addHandler(new Echo(), "/echo").setAllowedOriginPatterns("*").withSockJS();
        registry.addHandler(new Broadcast(), "/broadcast").setAllowedOriginPatterns("*").withSockJS();
    }

    @Override
    public void registerStompEndpoints(StompEndpointRegistry registry) {
        registry.addEndpoint("/stomp").setAllowedOriginPatterns("*").withSockJS();
        // else a SEND may overtake the SUBSCRIBE before it; there is no receipt to wait for
        registry.setPreserveReceiveOrder(true);
    }

    @Override
    public void configureMessageBroker(MessageBrokerRegistry registry) {
        registry.enableSimpleBroker("/topic");
        registry.setApplicationDestinationPrefixes("/app");
        registry.setPreservePublishOrder(true); // as the other servers do
    }

    @Override
    public void configureWebSocketTransport(WebSocketTransportRegistration registration) {
        registration.setMessageSizeLimit(LARGEST_MESSAGE);
        registration.setSendBufferSizeLimit(8 * LARGEST_MESSAGE);
    }

    @Bean
    ServletServerContainerFactoryBean container() {
        ServletServerContainerFactoryBean container = new ServletServerContainerFactoryBean();
        container.setMaxTextMessageBufferSize(TEXT_BUFFER_SIZE);
        return container;
    }
}
